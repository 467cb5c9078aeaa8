-- voxwire's transport of two lanes over TCP + UDP, see transport/PROTOCOL.md. It carries Dissonance.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

local HELLO = "VOXL"
local MAX_TOKEN = 1024
local SERVER_HELLO = 32
-- Of `pinfo.port_type`.
local UDP = 3

local UNITS = { [0] = "reliable packet", "droppable packet", "control" }
local CONTROLS = { "CONFIRM", "DOWN", "BOUND", "PEER", "GONE" }
local DATAGRAMS = {
    "BIND", "CHALLENGE", "DATA", "PING", "PONG", "PROBE", "PROBE_ACK", "DROPPABLE", "RELIABLE", "RELIABLE_ACK",
}

local p = common.protocol("transport", "voxwire TCP + UDP", {
    { "magic", "magic", "text" },
    { "version", "version", "u8" },
    { "flags", "flags", "u8", base.HEX },
    { "flags.udp", "UDP is wanted", "bool" },
    { "flags.direct", "direct paths are wanted", "bool" },
    { "token_length", "length of the token", "u16" },
    { "token", "token", "bytes" },
    { "status", "status", "u8", base.DEC, { [0] = "admitted" } },
    { "udp_port", "UDP port", "u16" },
    { "tag", "tag", "bytes" },
    { "cookie", "cookie", "bytes" },
    { "reserved", "reserved", "u8" },
    { "length", "length", "u16" },
    { "unit", "kind of unit", "u8", base.DEC, UNITS },
    { "control", "control", "u8", base.DEC, CONTROLS },
    { "challenge", "challenge", "bytes" },
    { "key", "key", "bytes" },
    { "port", "port", "u16" },
    { "ipv4", "address", "ipv4" },
    { "ipv6", "address", "ipv6" },
    { "datagram", "kind of datagram", "u8", base.DEC, DATAGRAMS },
    { "body", "body", "bytes" },
    { "epoch", "epoch", "u32", base.HEX },
    { "peer_epoch", "epoch of the other side", "u32", base.HEX },
    { "number", "number", "u16" },
    { "packet", "packet", "bytes" },
})

p.column = "voxwire"

-- The client's port of each connection; tags and keys of datagrams that belong to this transport.
local clients, tags = common.history(), common.history()
function p.proto.init()
    clients.clear()
    tags.clear()
end

-- What the session sends, in a window of its own.
local function packet(r, pinfo, tree)
    local n = r:left()
    if n == 0 then return end
    local inner = r:range(n):tvb()
    local found, dissonance = pcall(Dissector.get, "vox.dissonance")
    if found and n >= 2 and inner(0, 2):uint() == 0x8bc7 then
        r.at = r.stop
        dissonance:call(inner, pinfo, tree)
        return true
    end
    r:bytes("packet", n)
end

local function hello(r)
    r:text("magic", 4)
    local version = r:number("version", 1)
    if version ~= 1 then common.fail("version", 4, ("%d found, expected 1"):format(version)) end
end

local function client_hello(r, pinfo)
    r.name = "client hello"
    hello(r)
    local flags = r:number("flags", 1)
    local at = r.tvb(r.at - 1, 1)
    local udp, direct = flags % 2 == 1, math.floor(flags / 2) % 2 == 1
    r.tree:add(p.fields["flags.udp"], at, udp)
    r.tree:add(p.fields["flags.direct"], at, direct)
    local n = r:number("token_length", 2)
    if n > MAX_TOKEN then common.fail("length of the token", 6, ("%d announced, at most %d allowed"):format(n, MAX_TOKEN)) end
    r:bytes("token", n)
    clients.put(common.conversation(pinfo), pinfo, pinfo.src_port)
    return "client hello", ("client hello: wants %s%s%s"):format(udp and "UDP" or "no UDP", direct and ", direct paths" or "",
        n > 0 and (", token of %s"):format(common.plural(n, "byte")) or "")
end

local function server_hello(r, pinfo)
    r.name = "server hello"
    hello(r)
    local status = r:number("status", 1)
    local port = r:number("udp_port", 2)
    local tag = r.tvb:raw(r.at, math.min(7, r:left()))
    r:bytes("tag", 7)
    r:bytes("cookie", 16)
    r:number("reserved", 1)
    if status ~= 0 then return "server hello", ("server hello: not admitted (%d)"):format(status) end
    if port > 0 then tags.put(tag, pinfo, true) end
    return "server hello", "server hello: admitted, " .. (port > 0 and ("UDP port %d"):format(port) or "no UDP")
end

local function control(r, pinfo)
    if r:left() == 0 then
        r.name = "control"
        return "control", "control: empty, ignored"
    end
    local kind = r:number("control", 1)
    local name = CONTROLS[kind]
    r.name = name
    if not name then
        local n = r:left()
        r:bytes("body", n)
        return "control", ("control %d, ignored"):format(kind)
    end
    if name == "CONFIRM" then
        r:bytes("challenge", 8)
        return name, "CONFIRM: the challenge has arrived"
    elseif name == "DOWN" then
        return name, "DOWN: no UDP arrives"
    elseif name == "BOUND" then
        return name, "BOUND: UDP works"
    end
    local key = r.tvb:raw(r.at, math.min(7, r:left()))
    r:bytes("key", 16)
    tags.put(key, pinfo, true)
    if name == "GONE" then return name, "GONE: another client has left" end
    local port = r:number("port", 2)
    local n = r:left()
    if n ~= 4 and n ~= 16 then
        common.fail("address", r:offset(), ("%s found, expected 4 or 16"):format(common.plural(n, "byte")))
    end
    local range = r:range(n)
    r:bytes(n == 4 and "ipv4" or "ipv6", n)
    local address = n == 4 and tostring(range:ipv4()) or ("[%s]"):format(tostring(range:ipv6()))
    return name, ("PEER: another client at %s:%d"):format(address, port)
end

local function unit(r)
    local length, item = r:number("length", 2)
    if length == 0 then common.fail("length", 0, "0 found, expected at least 1") end
    local kind = r:number("unit", 1)
    return kind, item
end

-- One unit: the transport's head, and behind it the packet as one of its own protocol.
local function show_unit(tvb, offset, stop, pinfo, tree)
    local is_packet = stop - offset > 2 and tvb(offset, 2):uint() > 0 and tvb(offset + 2, 1):uint() < 2
    if not is_packet then
        common.message(p, tvb, offset, stop, pinfo, tree, function(r)
            local kind = unit(r)
            if kind ~= 2 then
                local n = r:left()
                r:bytes("packet", n)
                return "unit", ("unit of kind %d, %s"):format(kind, common.plural(n, "byte"))
            end
            return control(r, pinfo)
        end)
        return
    end
    local root = tree:add(p.proto, tvb(offset, 3))
    local r = common.reader(p, tvb, offset, stop, root, false)
    local kind = unit(r)
    root:append_text(", " .. UNITS[kind])
    root:add(p.fields.message, tvb(offset, 0), UNITS[kind]):set_generated(true)
    if not packet(r, pinfo, tree) then
        root:set_len(stop - offset)
        common.info(pinfo, p.column, ("%s, %s"):format(UNITS[kind], common.plural(stop - offset - 3, "byte")))
    end
end

local function is_hello(tvb, offset) return tvb:raw(offset, math.min(4, tvb:len() - offset)) == HELLO end

local function is_from_client(pinfo)
    local port = clients.get(common.conversation(pinfo), pinfo)
    if port then return port == pinfo.src_port end
    local to, from = p.is_server.tcp(pinfo.dst_port), p.is_server.tcp(pinfo.src_port)
    if to ~= from then return to end
    -- The first hello of a connection is the client's.
    return true
end

local function stream(tvb, pinfo, tree)
    local function cut(_, offset)
        local have = tvb:len() - offset
        -- A unit that begins as a hello does would be of kind 88.
        if have < 4 and HELLO:sub(1, have) == tvb:raw(offset, have) then return nil end
        if have >= 4 and is_hello(tvb, offset) then
            if not is_from_client(pinfo) then return SERVER_HELLO end
            if have < 8 then return nil end
            local token = tvb(offset + 6, 2):uint()
            return token <= MAX_TOKEN and 8 + token or have
        end
        if have < 2 then return nil end
        local length = tvb(offset, 2):uint()
        -- Where the next unit begins, nothing says then.
        return length > 0 and 2 + length or have
    end
    return common.stream(tvb, pinfo, cut, function(offset, stop)
        if not is_hello(tvb, offset) then return show_unit(tvb, offset, stop, pinfo, tree) end
        common.message(p, tvb, offset, stop, pinfo, tree, is_from_client(pinfo) and client_hello or server_hello)
    end)
end

local function datagram(r, pinfo)
    local kind = r:number("datagram", 1)
    local name = DATAGRAMS[kind]
    if not name then common.fail("kind of datagram", 0, ("unknown tag %d, expected a kind from 1 to 10"):format(kind)) end
    r.name = name
    r:bytes("tag", 7)
    local info = name
    if name == "BIND" then
        r:bytes("cookie", 16)
        info = "BIND: bind this address"
    elseif name == "CHALLENGE" then
        r:bytes("challenge", 8)
        info = "CHALLENGE: return it by TCP"
    elseif name == "PING" or name == "PONG" then
        local n = r:left()
        r:bytes("body", n)
    elseif name == "PROBE" or name == "PROBE_ACK" then
        r:bytes("key", 9)
        local first = r:number(name == "PROBE" and "epoch" or "peer_epoch", 4)
        local second = r:number(name == "PROBE" and "peer_epoch" or "epoch", 4)
        info = name == "PROBE" and ("PROBE, epoch %08x"):format(first)
            or ("PROBE_ACK to epoch %08x, own epoch %08x"):format(first, second)
    elseif name == "RELIABLE" or name == "RELIABLE_ACK" then
        local epoch = r:number("epoch", 4)
        local number = r:number("number", 2)
        info = ("%s %d, epoch %08x"):format(name, number, epoch)
    end
    return name, info, kind
end

-- Kinds that carry a packet, and where it begins.
local PACKETS = { [3] = 8, [8] = 8, [9] = 14 }

local function show_datagram(tvb, offset, stop, pinfo, tree)
    local kind = tvb(offset, 1):uint()
    local start = PACKETS[kind]
    if not start or stop - offset <= start then
        common.message(p, tvb, offset, stop, pinfo, tree, datagram)
        return
    end
    local root = tree:add(p.proto, tvb(offset, start))
    local r = common.reader(p, tvb, offset, stop, root, false)
    local name, info = datagram(r, pinfo)
    root:append_text(", " .. info)
    root:add(p.fields.message, tvb(offset, 0), name):set_generated(true)
    if not packet(r, pinfo, tree) then
        root:set_len(stop - offset)
        common.info(pinfo, p.column, ("%s, %s"):format(info, common.plural(stop - offset - start, "byte")))
    end
end

-- The size of the datagrams in `tvb`. A capture on the sender's machine may hold several as one, before the system has cut them
-- (segmentation offload): all have the same size, but for the last, and the same kind and tag.
local function datagram_size(tvb)
    local size, start = tvb:len(), PACKETS[tvb(0, 1):uint()]
    if not start or size < 2 * start then return size end
    local raw = tvb:raw()
    local head = raw:sub(1, 8)
    local at = raw:find(head, start + 1, true)
    if not at then return size end
    for next_at = at, size, at - 1 do
        if raw:sub(next_at, next_at + 7) ~= head then return size end
    end
    return at - 1
end

local function show_datagrams(tvb, pinfo, tree)
    local size = datagram_size(tvb)
    for offset = 0, tvb:len() - 1, size do
        show_datagram(tvb, offset, math.min(offset + size, tvb:len()), pinfo, tree)
    end
    return tvb:len()
end

function p.proto.dissector(tvb, pinfo, tree)
    if pinfo.port_type == UDP then return show_datagrams(tvb, pinfo, tree) end
    return stream(tvb, pinfo, tree)
end

p.proto:register_heuristic("tcp", function(tvb, pinfo, tree)
    if tvb:len() < 8 or tvb:raw(0, 5) ~= HELLO .. "\1" then return false end
    pinfo.conversation = p.proto
    stream(tvb, pinfo, tree)
    return true
end)

-- The tag is known from a hello or from a PEER, or a packet of Dissonance is inside.
p.proto:register_heuristic("udp", function(tvb, pinfo, tree)
    if tvb:len() < 8 then return false end
    local kind = tvb(0, 1):uint()
    if not DATAGRAMS[kind] then return false end
    local start = PACKETS[kind]
    local is_packet = start and tvb:len() >= start + 7 and tvb(start, 2):uint() == 0x8bc7
    if not is_packet and not tags.get(tvb:raw(1, 7), pinfo) then return false end
    show_datagrams(tvb, pinfo, tree)
    return true
end)

common.ports(p, { tcp = "4244", udp = "4244" })
