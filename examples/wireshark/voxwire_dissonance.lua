-- Dissonance's packets, see proto-dissonance/PROTOCOL.md. They come in UDP datagrams, or inside of `voxwire_transport.lua`.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

local MAGIC = 0x8bc7
-- A relay packet carries a packet; one that carries a relay packet again carries no further.
local MAX_DEPTH = 2
-- Of a list, so many elements are shown.
local MAX_SHOWN = 1000

local TYPES = {
    "ClientState", "VoiceData", "TextData", "HandshakeRequest", "HandshakeResponse", "ErrorWrongSession",
    "ServerRelayReliable", "ServerRelayUnreliable", "DeltaClientState", "RemoveClient", "HandshakeP2P",
}
local CODECS = { [0] = "Identity", "Opus" }
local RECIPIENTS = { [0] = "room", "player" }
local PRIORITIES = { [0] = "default", "low", "medium", "high" }

local p = common.protocol("dissonance", "Dissonance", {
    { "magic", "magic", "u16", base.HEX },
    { "type", "type", "u8", base.DEC, TYPES },
    { "session", "session", "u32" },
    { "codec", "codec", "u8", base.DEC, CODECS },
    { "frame_size", "frame size", "u32" },
    { "sample_rate", "sample rate", "u32" },
    { "length", "length of text", "u16" },
    { "name", "name", "text" },
    { "client", "client id", "u16" },
    { "room_count", "room count", "u16" },
    { "rooms", "room name", "text" },
    { "room", "room name", "text" },
    { "client_count", "client count", "u16" },
    { "clients.name", "name", "text" },
    { "clients.client", "client id", "u16" },
    { "clients.codec", "codec", "u8", base.DEC, CODECS },
    { "clients.frame_size", "frame size", "u32" },
    { "clients.sample_rate", "sample rate", "u32" },
    { "channel_count", "channel count", "u16" },
    { "channels.room", "room id", "u16" },
    { "channels.listener_count", "listener count", "u8" },
    { "channels.listeners", "listeners", "u16" },
    { "channels.bitfield", "bitfield", "u16", base.HEX },
    { "channels.recipient", "recipient type", "u8", base.DEC, RECIPIENTS },
    { "channels.target", "target", "u16" },
    { "channels.positional", "positional", "bool" },
    { "channels.closing", "closing", "bool" },
    { "channels.priority", "priority", "u8", base.DEC, PRIORITIES },
    { "channels.channel_session", "channel session", "u8" },
    { "channels.volume", "volume", "double" },
    { "sender", "sender", "u16" },
    { "options", "options", "u8", base.HEX },
    { "channel_session", "channel session", "u8" },
    { "sequence", "sequence", "u16" },
    { "frame_length", "frame length", "u16" },
    { "frame", "frame", "bytes" },
    { "opus", "Opus", "text" },
    { "lost", "numbers not seen before", "u16" },
    { "recipient", "recipient type", "u8", base.DEC, RECIPIENTS },
    { "target", "target", "u16" },
    { "text", "text", "text" },
    { "destination_count", "destination count", "u8" },
    { "destinations", "destinations", "u16" },
    { "payload_length", "payload length", "u16" },
    { "payload", "payload", "bytes" },
    { "joined", "joined", "bool" },
})

-- Names of clients and rooms by session and number, and each client's codec.
local clients, rooms, codecs = common.history(), common.history(), common.history()
-- By direction and sender: the last sequence number.
local sequences = common.history()
local gaps = {}
function p.proto.init()
    clients.clear()
    rooms.clear()
    codecs.clear()
    sequences.clear()
    gaps = {}
end

-- The number of a room: 32-bit FNV-1a over the UTF-16 code units, high byte first, then folded.
local function xor_byte(a, b)
    local result, scale = a - a % 256, 1
    local low = a % 256
    for _ = 1, 8 do
        if low % 2 ~= b % 2 then result = result + scale end
        low, b, scale = math.floor(low / 2), math.floor(b / 2), scale * 2
    end
    return result
end

local function fnv(hash, byte)
    hash = xor_byte(hash, byte)
    -- hash * 16777619 modulo 2^32, without losing bits.
    return (hash % 256 * 16777216 + hash * 403) % 4294967296
end

local function room_id(name)
    local hash = 2166136261
    local i = 1
    while i <= #name do
        local first = name:byte(i)
        local n = first < 128 and 0 or first < 224 and 1 or first < 240 and 2 or 3
        local code = n == 0 and first or first % (2 ^ (6 - n))
        for k = 1, n do code = code * 64 + (name:byte(i + k) or 0) % 64 end
        i = i + n + 1
        local units = { code }
        if code >= 65536 then
            local rest = code - 65536
            units = { 0xd800 + math.floor(rest / 1024), 0xdc00 + rest % 1024 }
        end
        for _, unit in ipairs(units) do
            hash = fnv(fnv(hash, math.floor(unit / 256) % 256), unit % 256)
        end
    end
    return (math.floor(hash / 65536) * 5791 + hash % 65536 * 7639) % 65536
end

-- A client or a room of a session.
local function key_of(r, number) return ("%d/%d"):format(r.session, number) end

local function client_name(r, pinfo, id)
    if id == 65535 then return "the server alone" end
    local name = clients.get(key_of(r, id), pinfo)
    return name and ("%s (%d)"):format(name, id) or ("client %d"):format(id)
end

local function room_name(r, pinfo, id)
    local name = rooms.get(key_of(r, id), pinfo)
    return name and ("room %s"):format(name) or ("room %d"):format(id)
end

local function target_name(r, pinfo, is_room, id)
    return is_room and room_name(r, pinfo, id) or client_name(r, pinfo, id)
end

-- A u16 of 0 for null, otherwise one more than the count of bytes that follow. Errors are where the bytes begin.
local function text(r, key)
    local name = p.names[key]
    r:need(name, 2)
    local n = r:peek(2)
    r:number("length", 2)
    if n == 0 then
        r.tree:add(p.fields[key], r.tvb(r.at, 0), ""):append_text("<null>")
        return nil
    end
    return (r:text(key, n - 1))
end

local function know_room(r, pinfo, n_bytes, name)
    if not name or n_bytes == 0 then return end
    -- The column's text is cut and cleaned; the number is of the bytes.
    local raw = r.tvb:raw(r.at - n_bytes, n_bytes)
    rooms.put(key_of(r, room_id(raw)), pinfo, name)
end

local function room(r, pinfo, key)
    local start = r.at + 2
    local name = text(r, key)
    know_room(r, pinfo, r.at - start, name)
    return name
end

local function codec(r, prefix)
    local kind = r:number(prefix .. "codec", 1)
    local frame = r:number(prefix .. "frame_size", 4)
    local rate = r:number(prefix .. "sample_rate", 4)
    return ("%s, %d samples at %d Hz"):format(CODECS[kind] or ("codec %d"):format(kind), frame, rate), kind
end

local function client(r, pinfo, prefix)
    local name = text(r, prefix .. "name")
    local id = r:number(prefix .. "client", 2)
    local about, kind = codec(r, prefix)
    if name then clients.put(key_of(r, id), pinfo, name) end
    codecs.put(key_of(r, id), pinfo, kind)
    return name or "<null>", id, about
end

-- Elements of `least` bytes at least, one after the other. Errors of the count are where the elements begin.
local function list(r, key, name, width, least, element)
    local count = r:number(key, width)
    if count * least > r:left() then
        r:fail(name, ("%d more bytes expected before the end of the frame"):format(count * least - r:left()))
    end
    for i = 1, count do element(i, i <= MAX_SHOWN) end
    return count
end

-- Numbers of clients.
local function ids(r, pinfo, count_key, key, width)
    local found = {}
    local count = r:number(count_key, width)
    r:need(p.names[key], 2 * count)
    for i = 1, count do
        local id, item = r:number(key, 2)
        local name = client_name(r, pinfo, id)
        item:append_text(", " .. name)
        found[i] = i <= 4 and name or nil
    end
    local shown = table.concat(found, ", ")
    return count > 4 and ("%s and %d more"):format(shown, count - 4) or shown
end

local function channel(r, pinfo)
    local bits = r:peek(2)
    local is_room = bits % 2 == 1
    local function flag(n) return math.floor(bits / 2 ^ n) % 2 == 1 end
    local target = r:peek(2, 2)
    local name = target_name(r, pinfo, is_room, target)
    r:group("Channel to " .. name, function(item)
        local low, high = r.tvb(r.at + 1, 1), r.tvb(r.at, 1)
        r:number("channels.bitfield", 2)
        local fields, tree = p.fields, r.tree
        tree:add(fields["channels.recipient"], low, is_room and 0 or 1)
        tree:add(fields["channels.positional"], low, flag(1))
        tree:add(fields["channels.closing"], low, flag(2))
        tree:add(fields["channels.priority"], low, math.floor(bits / 8) % 4)
        tree:add(fields["channels.channel_session"], low, math.floor(bits / 32) % 4)
        tree:add(fields["channels.volume"], high, math.floor(math.floor(bits / 256) / 255 * 2 * 10000 + 0.5) / 10000)
        r:number("channels.target", 2)
        if flag(2) then item:append_text(", closing") end
    end)
    return (flag(2) and "closing " or "") .. name
end

-- How many numbers are missing between the last packet of this sender and this one, both on the same way.
local function missing(r, pinfo, sender, sequence)
    local key = ("%s/%d/%d"):format(common.direction(pinfo), r.session, sender)
    local id = ("%d/%s/%d"):format(pinfo.number, key, sequence)
    if not pinfo.visited then
        local last = sequences.get(key, pinfo)
        local ahead = last and (sequence - last) % 65536
        gaps[id] = ahead and ahead > 1 and ahead < 32768 and ahead - 1 or nil
        if not ahead or ahead < 32768 then sequences.put(key, pinfo, sequence) end
    end
    return gaps[id]
end

local function voice(r, pinfo)
    local sender, item = r:number("sender", 2)
    item:append_text(", " .. client_name(r, pinfo, sender))
    local options = r:number("options", 1)
    local session = options >= 128 and options - 128 or options % 4
    r.tree:add(p.fields.channel_session, r.tvb(r.at - 1, 1), session)
    local sequence = r:number("sequence", 2)
    local count = r:number("channel_count", 2)
    r:need("channels", 4 * count)
    local to = {}
    for i = 1, count do
        if i > MAX_SHOWN then
            r.at = r.at + 4
        else
            local name = channel(r, pinfo)
            to[i] = i <= 3 and name or nil
        end
    end
    local n = r:number("frame_length", 2)
    r:bytes("frame", n)
    local info = ("VoiceData from %s to %s%s, %s"):format(client_name(r, pinfo, sender), table.concat(to, ", "),
        count > 3 and (" and %d more"):format(count - 3) or count == 0 and "nobody" or "", common.plural(n, "byte"))
    local kind = codecs.get(key_of(r, sender), pinfo)
    if n > 0 and kind ~= 0 then
        r:derived("opus", common.opus(r.tvb(r.at - n, 1):uint()), n)
    end
    if not r.inner then
        local gap = missing(r, pinfo, sender, sequence)
        if gap then
            local lost = r.tree:add(p.fields.lost, r.tvb(r.at, 0), gap)
            lost:set_generated(true)
            r:note(lost, common.plural(gap, "number") .. " of this sender not seen here: lost, or not sent to this listener")
        end
    end
    return info
end

local decode

-- The packet inside of a relay packet.
local function relayed(r, pinfo, item, n, depth)
    local first = r.at - n
    local root = item:add(p.proto, r.tvb(first, n))
    local inner = common.reader(p, r.tvb, first, r.at, root, false)
    inner.root, inner.inner = root, true
    local ok, name, info = pcall(decode, inner, pinfo, depth + 1)
    if ok then
        root:append_text(", " .. info)
        root:add(p.fields.message, r.tvb(first, 0), name):set_generated(true)
        if inner:left() > 0 then root:add(p.fields.trailing, inner:range(inner:left())) end
        return info
    end
    -- The relay packet itself is well formed.
    if type(name) ~= "table" then error(name, 0) end
    r:note(root, "The payload is no packet: " .. tostring(name))
    if inner:left() > 0 then root:add(p.fields.undecoded, inner:range(inner:left())) end
    return "no packet: " .. tostring(name)
end

function decode(r, pinfo, depth)
    depth = depth or 0
    r.session = 0
    local magic = r:number("magic", 2)
    if magic ~= MAGIC then common.fail("magic", 0, ("%d found, expected 0x8bc7 (35783)"):format(magic)) end
    local kind = r:number("type", 1)
    local name = TYPES[kind]
    if not name then common.fail("type", 2, ("unknown tag %d, expected a type from 1 to 11"):format(kind)) end
    r.name = name
    if name == "HandshakeRequest" then
        local about = codec(r, "")
        return name, ("HandshakeRequest from %s (%s)"):format(text(r, "name") or "<null>", about)
    end
    r.session = r:number("session", 4)
    if name == "ClientState" then
        local who, id, about = client(r, pinfo, "")
        local found = {}
        local count = list(r, "room_count", "room count", 2, 2, function(i)
            local one = room(r, pinfo, "rooms") or "<null>"
            found[i] = i <= 4 and one or nil
        end)
        local listens = count == 0 and "nothing" or table.concat(found, ", ")
        if count > 4 then listens = ("%s and %d more"):format(listens, count - 4) end
        return name, ("ClientState of %s (%d): listens to %s; %s"):format(who, id, listens, about)
    elseif name == "VoiceData" then
        return name, voice(r, pinfo)
    elseif name == "TextData" then
        r:need("recipient type", 1)
        local at = r:offset()
        local recipient = r:number("recipient", 1)
        local sender, item = r:number("sender", 2)
        item:append_text(", " .. client_name(r, pinfo, sender))
        local target, target_item = r:number("target", 2)
        if recipient > 1 then
            common.fail("recipient type", at, ("unknown tag %d, expected 0 (room) or 1 (player)"):format(recipient))
        end
        local to = target_name(r, pinfo, recipient == 0, target)
        target_item:append_text(", " .. to)
        local content = text(r, "text")
        return name, ("TextData from %s to %s: %s"):format(client_name(r, pinfo, sender), to, content or "<null>")
    elseif name == "HandshakeResponse" then
        local id = r:number("client", 2)
        local n_clients = list(r, "client_count", "client count", 2, 13, function()
            r:group("Client", function(item)
                local who, number = client(r, pinfo, "clients.")
                item:set_text(("Client %d: %s"):format(number, who))
            end)
        end)
        local n_rooms = list(r, "room_count", "room count", 2, 2, function() room(r, pinfo, "rooms") end)
        list(r, "channel_count", "channel count", 2, 3, function()
            r:group("Room", function(item)
                local number = r:number("channels.room", 2)
                local listeners = ids(r, pinfo, "channels.listener_count", "channels.listeners", 1)
                item:set_text(("%s: %s"):format(room_name(r, pinfo, number):gsub("^r", "R"),
                    listeners == "" and "no listeners" or listeners))
            end)
        end)
        return name, ("HandshakeResponse: client %d of %s, %s"):format(
            id, common.plural(n_clients, "client"), common.plural(n_rooms, "room"))
    elseif name == "ErrorWrongSession" then
        return name, ("ErrorWrongSession: the session is %d"):format(r.session)
    elseif kind == 7 or kind == 8 then
        local to = ids(r, pinfo, "destination_count", "destinations", 1)
        local n = r:number("payload_length", 2)
        local item = r:bytes("payload", n)
        local lane = kind == 7 and "reliable" or "unreliable"
        local what = depth < MAX_DEPTH and relayed(r, pinfo, item, n, depth) or common.plural(n, "byte")
        return name, ("relay (%s) to %s: %s"):format(lane, to == "" and "nobody" or to, what)
    elseif name == "DeltaClientState" then
        r:need("joined", 1)
        local joined = r:peek(1) ~= 0
        r.tree:add(p.fields.joined, r:range(1), joined)
        r.at = r.at + 1
        local id = r:number("client", 2)
        local where = room(r, pinfo, "room") or "<null>"
        return name, ("DeltaClientState: %s %s %s"):format(client_name(r, pinfo, id), joined and "joins" or "leaves", where)
    end
    local id, item = r:number("client", 2)
    item:append_text(", " .. client_name(r, pinfo, id))
    return name, ("%s %s"):format(name, client_name(r, pinfo, id))
end

function p.proto.dissector(tvb, pinfo, tree)
    common.message(p, tvb, 0, tvb:len(), pinfo, tree, decode, false)
    return tvb:len()
end

local function is_packet(tvb)
    if tvb:len() < 7 or tvb(0, 2):uint() ~= MAGIC then return false end
    local kind = tvb(2, 1):uint()
    return kind >= 1 and kind <= 11
end

-- Dissonance has no port of its own: its host network carries the packets. In a datagram the magic is the first.
p.proto:register_heuristic("udp", function(tvb, pinfo, tree)
    if not is_packet(tvb) then return false end
    p.proto.dissector(tvb, pinfo, tree)
    return true
end)
local ok, datagrams = pcall(DissectorTable.get, "udp.port")
if ok then pcall(function() datagrams:add_for_decode_as(p.proto) end) end
