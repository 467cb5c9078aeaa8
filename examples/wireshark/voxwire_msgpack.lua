-- voxwire's msgpack protocol over TCP, in ZMTP 1.0, 2.0 or 3, or as plain objects. See proto-msgpack/PROTOCOL.md.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

-- What a client takes of its server, see CLIENT_LIMITS: a longer unit is no unit.
local MAX_UNIT = 64 * 1024 * 1024
-- Bounds of what is shown of objects that are not known: objects in all, and how deep they are in each other.
local MAX_OBJECTS, MAX_DEPTH = 256, 16
local SIGNATURE, GREETING_2, GREETING_3 = 10, 12, 64

local CODES = {
    [0] = "SUCCESS", [255] = "IDENTITY_NOT_CONNECTED", [256] = "IDENTITY_ALREADY_CONNECTED",
    [511] = "USER_ALREADY_CONNECTED", [512] = "USER_NOT_CONNECTED", [513] = "USER_ALREADY_EXIST",
    [514] = "USER_DOES_NOT_EXIST", [515] = "USER_WRONG_PASSWORD", [516] = "USER_INCORRECT_IDENTITY",
    [517] = "USER_INCORRECT_TOKEN", [767] = "GROUP_ALREADY_EXIST", [768] = "GROUP_DOES_NOT_EXIST",
    [769] = "GROUP_MEMBER_ALREADY_EXIST", [770] = "GROUP_MEMBER_DOES_NOT_EXIST", [1023] = "REQUEST_INVALID",
    [1024] = "REQUEST_OVER_LIMIT", [1025] = "SERVER_UNAVAILABLE", [1026] = "MAILBOX_FULL",
}

-- Arguments in order. What is none of the others is text.
local REQUESTS = {
    register = { "username", "password" },
    login = { "username", "password" },
    logout = { "username" },
    add_contact = { "username", "token", "contact" },
    whisper = { "username", "token", "recipient", "content" },
    create_group = { "username", "token", "group_name" },
    join_group = { "username", "token", "group_name" },
    msg_group = { "username", "token", "group_name", "content" },
    voice_msg = { "username", "token", "recipient", "channels", "sample_rate", "samples" },
    join_call = { "username", "token", "group_name" },
    leave_call = { "username", "token" },
}
local CLIENT_UPDATES = { call_data = { "username", "token", "group_name", "samples" } }
local SERVER_UPDATES = {
    whisper = { "sender", "content" },
    msg_group = { "group_name", "sender", "content" },
    voice_msg = { "sender", "channels", "sample_rate", "samples" },
    call_data = { "sender", "samples" },
}
local SUCCESSES = { login = { "username", "token" }, join_call = { "group_name" } }
local KINDS = { channels = "uint", sample_rate = "uint", code = "uint", samples = "samples" }

local p = common.protocol("msgpack", "voxwire msgpack", {
    { "dialect", "dialect", "text" },
    { "zmtp.flags", "flags", "u8", base.HEX },
    { "zmtp.more", "more frames follow", "bool" },
    { "zmtp.long", "long length", "bool" },
    { "zmtp.command", "command", "bool" },
    { "zmtp.length", "length", "u64" },
    { "zmtp.frame", "frame", "bytes" },
    { "zmtp.identity", "identity", "bytes" },
    { "signature", "signature", "bytes" },
    { "version", "version", "text" },
    { "mechanism", "mechanism", "text" },
    { "as_server", "as server", "u8" },
    { "filler", "filler", "bytes" },
    { "socket_type", "socket type", "u8", base.DEC,
        { [0] = "PAIR", "PUB", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PULL", "PUSH" } },
    { "command", "command", "text" },
    { "properties.name", "property", "text" },
    { "properties.value", "value", "text" },
    { "ttl", "time to live in tenths of a second", "u16" },
    { "context", "context", "bytes" },
    { "data", "data", "bytes" },
    { "type", "type", "text" },
    { "action", "action", "text" },
    { "code", "code", "u64", base.DEC },
    { "name", "name", "text" },
    { "username", "username", "text" },
    { "password", "password", "text" },
    { "requests_only", "requests only", "bool" },
    { "token", "token", "text" },
    { "contact", "contact", "text" },
    { "recipient", "recipient", "text" },
    { "sender", "sender", "text" },
    { "group_name", "group_name", "text" },
    { "content", "content", "text" },
    { "reason", "reason", "text" },
    { "channels", "channels", "u64" },
    { "sample_rate", "sample_rate", "u64" },
    { "sample_count", "count of samples", "u32" },
    { "samples", "samples", "double" },
    { "peak", "peak in dB of full scale", "double" },
})
p.proto.prefs.samples = Pref.uint("Samples shown", 32, "How many samples of a list are shown one by one")

-- By direction: what its stream is written in, and where it is. By connection: the client's port.
local streams, clients = {}, common.history()
function p.proto.init()
    streams = {}
    clients.clear()
end

-- Objects -----------------------------------------------------------------------------------------------------------------------

-- What the object at `at` is: its kind, the bytes of its head, and its value or its length. nil, and how many bytes are missing.
local function head(tvb, at, stop)
    if at >= stop then return nil, 1 end
    local first = tvb(at, 1):uint()
    local function number(width)
        if at + 1 + width > stop then return nil, at + 1 + width - stop end
        local value = 0.0
        for i = 1, width do value = value * 256 + tvb(at + i, 1):uint() end
        return value
    end
    local function behind(kind, width)
        local value, missing = number(width)
        if not value then return nil, missing end
        return kind, 1 + width, value
    end
    local function signed(width)
        local value, missing = number(width)
        if not value then return nil, missing end
        if value >= 2 ^ (8 * width - 1) then return "negative", 1 + width, value - 2 ^ (8 * width) end
        return "uint", 1 + width, value
    end
    if first < 0x80 then return "uint", 1, first end
    if first < 0x90 then return "map", 1, first - 0x80 end
    if first < 0xa0 then return "list", 1, first - 0x90 end
    if first < 0xc0 then return "text", 1, first - 0xa0 end
    if first >= 0xe0 then return "negative", 1, first - 256 end
    if first == 0xc0 then return "nil", 1 end
    if first == 0xc1 then return "reserved", 1 end
    if first == 0xc2 or first == 0xc3 then return first == 0xc3 and "true" or "false", 1 end
    if first <= 0xc6 then return behind("text", 2 ^ (first - 0xc4)) end
    if first <= 0xc9 then return behind("extension", 2 ^ (first - 0xc7)) end
    if first <= 0xcb then return "float", 1, first == 0xca and 4 or 8 end
    if first <= 0xcf then return behind("uint", 2 ^ (first - 0xcc)) end
    if first <= 0xd3 then return signed(2 ^ (first - 0xd0)) end
    if first <= 0xd8 then return "extension", 1, 2 ^ (first - 0xd4) end
    if first <= 0xdb then return behind("text", 2 ^ (first - 0xd9)) end
    if first <= 0xdd then return behind("list", 2 ^ (first - 0xdb)) end
    return behind("map", 2 ^ (first - 0xdd))
end

local function wrong(r, name, expected)
    r:fail(name, ("unknown tag %d, expected %s"):format(r.tvb(r.at, 1):uint(), expected))
end

-- The head of the next object, or an error.
local function object(r, name)
    local kind, n, value = head(r.tvb, r.at, r.stop)
    if not kind then r:fail(name, ("%d more bytes expected before the end of the frame"):format(n)) end
    return kind, n, value
end

local function text(r, key)
    local name = p.names[key]
    local kind, n, length = object(r, name)
    if kind ~= "text" then wrong(r, name, "a string") end
    if n + length > r:left() then
        r:fail(name, ("%d more bytes expected before the end of the frame"):format(n + length - r:left()))
    end
    local raw = r.tvb:raw(r.at + n, length)
    r.at = r.at + n
    local shown, item = r:text(key, length)
    return raw, shown, item
end

local function uint(r, key)
    local name = p.names[key]
    local kind, n, value = object(r, name)
    if kind ~= "uint" then wrong(r, name, "an integer that is not negative") end
    local low = value % 4294967296
    local item = r.tree:add(p.fields[key], r:range(n), UInt64(low, (value - low) / 4294967296))
    r.at = r.at + n
    return value, item
end

-- Integers of all forms, or floats throughout. Returns how many, what they are, and the largest.
local function samples(r)
    local kind, n, count = object(r, "samples")
    if kind ~= "list" then wrong(r, "samples", "a list of samples") end
    local start, offset = r.at, r:offset()
    local first = start + n
    if count > r.stop - first then
        r:fail("samples", ("%d more bytes expected before the end of the frame"):format(count - (r.stop - first)))
    end
    local item = r.tree:add(p.fields.sample_count, r.tvb(start, n), count)
    local raw = r.tvb:raw(first, r.stop - first)
    local most, at, peak, is_float = p.proto.prefs.samples, 1, 0, false
    local byte = string.byte
    local function missing(more)
        common.fail("samples", offset, ("%d more bytes expected before the end of the frame"):format(more))
    end
    local function bad(what) common.fail("samples", offset + n + at - 1, what) end
    for i = 1, count do
        local marker = byte(raw, at)
        if not marker then missing(count - i + 1) end
        local value, width
        if i == 1 then is_float = marker == 0xca or marker == 0xcb end
        if is_float then
            width = marker == 0xca and 4 or marker == 0xcb and 8
            if not width then bad(("unknown tag %d, expected a float"):format(marker)) end
            if at + width > #raw then missing(at + width - #raw) end
            value = r.tvb(first + at, width):float()
            if value ~= value or value == math.huge or value == -math.huge then bad("expected a finite float") end
        elseif marker < 0x80 then
            value, width = marker, 0
        elseif marker >= 0xe0 then
            value, width = marker - 256, 0
        elseif marker >= 0xcc and marker <= 0xd3 then
            width = 2 ^ ((marker - 0xcc) % 4)
            if at + width > #raw then missing(at + width - #raw) end
            value = 0
            for k = 1, width do value = value * 256 + byte(raw, at + k) end
            if marker >= 0xd0 and value >= 2 ^ (8 * width - 1) then value = value - 2 ^ (8 * width) end
            if value < -32768 or value > 32767 then
                bad(("%.0f found, expected a sample from -32768 to 32767"):format(math.abs(value)))
            end
        else
            bad(("unknown tag %d, expected an integer"):format(marker))
        end
        if i <= most then item:add(p.fields.samples, r.tvb(first + at - 1, 1 + width), value) end
        at = at + 1 + width
        local size = value < 0 and -value or value
        if size > peak then peak = size end
    end
    r.at = first + at - 1
    item:set_len(r.at - start)
    if count > most then item:add(r.tvb(r.at, 0), ("... and %d more"):format(count - most)) end
    local unit = is_float and "f32" or "i16"
    item:append_text(" " .. unit)
    if peak > 0 then
        local level = 20 * math.log(is_float and peak or peak / 32768) / math.log(10)
        r:derived("peak", math.floor(level * 10 + 0.5) / 10, r.at - start)
    end
    return ("%s %s"):format(common.plural(count, "sample"), unit), count
end

-- Any objects, within bounds. They may be cut off, and may be none.
local function any(tvb, at, stop, tree, budget, depth)
    if budget.left == 0 then return nil end
    budget.left = budget.left - 1
    local kind, n, value = head(tvb, at, stop)
    if not kind then
        tree:add(tvb(at, stop - at), "cut off")
        return nil
    end
    local function leaf(length, label)
        if at + length > stop then
            tree:add(tvb(at, stop - at), label .. ", cut off")
            return nil
        end
        return at + length, tree:add(tvb(at, length), label)
    end
    if kind == "uint" or kind == "negative" then return leaf(n, ("integer: %.0f"):format(value)) end
    if kind == "nil" or kind == "true" or kind == "false" then return leaf(n, kind) end
    if kind == "reserved" then
        leaf(n, "reserved byte c1")
        return nil
    end
    if kind == "text" then
        local shown = at + n + value <= stop and value > 0 and tvb(at + n, value):string(ENC_UTF_8) or ""
        return leaf(n + value, ("string of %s: %s"):format(common.plural(value, "byte"), common.clean(shown)))
    end
    if kind == "float" then
        local label = "float"
        if at + n + value <= stop then label = ("float: %g"):format(tvb(at + n, value):float()) end
        return leaf(n + value, label)
    end
    if kind == "extension" then return leaf(n + 1 + value, ("extension of %s"):format(common.plural(value, "byte"))) end
    local item = tree:add(tvb(at, stop - at), ("%s of %s"):format(kind, common.plural(value, kind == "map" and "pair" or "object")))
    if depth == MAX_DEPTH then
        item:append_text(", too deep to be shown")
        return nil
    end
    local next_at = at + n
    for _ = 1, kind == "map" and 2 * value or value do
        next_at = any(tvb, next_at, stop, item, budget, depth + 1)
        if not next_at then return nil end
    end
    item:set_len(next_at - at)
    return next_at
end

local function show_objects(r, at, label)
    if at >= r.stop then return end
    local item = r.root:add(r.tvb(at, r.stop - at), label)
    local budget, next_at = { left = MAX_OBJECTS }, at
    while next_at and next_at < r.stop do next_at = any(r.tvb, next_at, r.stop, item, budget, 1) end
    if budget.left == 0 then item:append_text((", the first %d"):format(MAX_OBJECTS)) end
end

-- Messages ----------------------------------------------------------------------------------------------------------------------

-- Whether a message is a client's: by the server's port, or by what has been seen of the connection.
local function is_from_client(pinfo)
    local to, from = p.is_server.tcp(pinfo.dst_port), p.is_server.tcp(pinfo.src_port)
    if to ~= from then return to end
    local client = clients.get(common.conversation(pinfo), pinfo)
    if client then return client == pinfo.src_port end
    return pinfo.dst_port == pinfo.match_uint
end

-- By the type of a message, where the ports do not tell.
local function learn_side(pinfo, kind)
    if kind == "request" then
        clients.put(common.conversation(pinfo), pinfo, pinfo.src_port)
    elseif kind == "response" then
        clients.put(common.conversation(pinfo), pinfo, pinfo.dst_port)
    end
end

local function arguments(r, keys, values)
    for _, key in ipairs(keys) do
        if KINDS[key] == "uint" then
            values[key] = uint(r, key)
        elseif KINDS[key] == "samples" then
            values.audio, values.count = samples(r)
        else
            local _, shown = text(r, key)
            values[key] = shown
        end
    end
end

local function duration(values)
    local rate = values.sample_rate or 44100
    local frames = values.count / math.max(values.channels or 1, 1)
    return rate > 0 and (", %.3g s"):format(frames / rate) or ""
end

-- What the Info column says. Passwords and tokens are no part of it.
local function summary(action, values)
    local who = values.username or values.sender
    local info = action .. (who and " from " .. who or "")
    if values.recipient then info = info .. " to " .. values.recipient end
    if values.contact then info = info .. ": " .. values.contact end
    if values.group_name then info = info .. (values.content and " to" or values.audio and " to" or ":") .. " group " .. values.group_name end
    if values.content then info = info .. ": " .. values.content end
    if values.audio then info = info .. ", " .. values.audio .. (action == "voice_msg" and duration(values) or "") end
    return info
end

local function decode_client(r, values)
    local start = r.at
    local kind = text(r, "type")
    local at = r:offset()
    local action, keys
    if kind == "request" then
        action = text(r, "action")
        keys = REQUESTS[action]
        if not keys then common.fail("action", at, "unknown name, expected one of the eleven requests") end
    elseif kind == "update" then
        action = text(r, "action")
        keys = CLIENT_UPDATES[action]
        if not keys then common.fail("action", at, "unknown name, expected call_data") end
    elseif kind == "add_contact" or kind == "join_group" then
        -- As the document draws them.
        action, keys = kind, REQUESTS[kind]
        r:note(r.root, "Without \"request\", as the document draws it")
    else
        common.fail("type", start - r.first, "unknown name, expected request, update, add_contact or join_group")
    end
    r.name = action
    arguments(r, keys, values)
    if action == "login" then
        local next_kind, n, length = head(r.tvb, r.at, r.stop)
        if next_kind == "text" and n + length <= r:left() and r.tvb:raw(r.at + n, length) == "requests_only" then
            r.tree:add(p.fields.requests_only, r:range(n + length), true)
            r.at = r.at + n + length
            return action, summary(action, values) .. ", for requests only"
        end
    end
    return action, summary(action, values)
end

local function decode_server(r, values)
    local start = r.at
    local kind = text(r, "type")
    local at = r:offset()
    if kind == "response" then
        r.name = kind
        local action, shown = text(r, "action")
        local code, item = uint(r, "code")
        local name = CODES[code]
        if name then r:derived("name", name) end
        item:append_text(" (" .. (name or "unknown") .. ")")
        if code == 0 and SUCCESSES[action] then arguments(r, SUCCESSES[action], values) end
        local about = values.username and " as " .. values.username or values.group_name and " of group " .. values.group_name or ""
        return kind, ("response to %s%s: %s"):format(shown, about, name or ("code %.0f"):format(code))
    elseif kind == "update" then
        local action = text(r, "action")
        local keys = SERVER_UPDATES[action]
        if not keys then common.fail("action", at, "unknown name, expected whisper, msg_group, voice_msg or call_data") end
        r.name = action
        arguments(r, keys, values)
        return action, summary(action, values)
    end
    common.fail("type", start - r.first, "unknown name, expected response or update")
end

-- A message. Bytes behind its last argument are objects as well, which are ignored.
local function decode_message(r, pinfo)
    local kind, n, length = head(r.tvb, r.at, r.stop)
    if kind == "text" and n + length <= r:left() then learn_side(pinfo, r.tvb:raw(r.at + n, length)) end
    local start = r.at
    local decode = is_from_client(pinfo) and decode_client or decode_server
    local ok, name, info = pcall(decode, r, {})
    if not ok then
        show_objects(r, start, "Objects")
        error(name, 0)
    end
    if r:left() > 0 then
        r:note(r.root, "Objects behind the last argument are ignored")
        show_objects(r, r.at, "Ignored objects")
    end
    return name, info
end

-- ZMTP --------------------------------------------------------------------------------------------------------------------------

local function greeting_length(version)
    return version == 1 and SIGNATURE or version == 2 and GREETING_2 or GREETING_3
end

local function decode_greeting(version)
    return function(r)
        r.name = "greeting"
        r:bytes("signature", SIGNATURE)
        if version == 1 then
            r:derived("version", "1.0")
            return "greeting", "greeting of ZMTP 1.0"
        end
        local major = r.tvb(r.at, 1):uint()
        if version == 2 then
            local shown = ({ [0] = "1.0", "2.0", "2.1" })[major] or ("%d"):format(major)
            r.tree:add(p.fields.version, r:range(1), shown)
            r.at = r.at + 1
            r:number("socket_type", 1)
            return "greeting", "greeting of ZMTP " .. shown
        end
        local shown = ("%d.%d"):format(major, r.tvb(r.at + 1, 1):uint())
        r.tree:add(p.fields.version, r:range(2), shown)
        r.at = r.at + 2
        local raw = r.tvb:raw(r.at, 20)
        local mechanism = raw:match("^[^%z]*")
        local item = r.tree:add_packet_field(p.fields.mechanism, r.tvb(r.at, #mechanism), ENC_UTF_8)
        if raw ~= "NULL" .. ("\0"):rep(16) then
            item:add_proto_expert_info(p.malformed, "transport handshake: expected the mechanism NULL")
        end
        r.at = r.at + 20
        r:number("as_server", 1)
        r:bytes("filler", 31)
        return "greeting", ("greeting of ZMTP %s, mechanism %s"):format(shown, common.clean(mechanism))
    end
end

local function decode_command(r)
    r:need("command", 1)
    local n = r.tvb(r.at, 1):uint()
    if n + 1 > r:left() then r:fail("command", "a command with a name expected") end
    r.at = r.at + 1
    local at = r.at
    local name = r.tvb:raw(at, n)
    local shown = r:text("command", n)
    if name == "READY" then
        local parts = {}
        while r:left() > 0 do
            local key_length = r.tvb(r.at, 1):uint()
            if key_length + 5 > r:left() then break end
            local value_length = r.tvb(r.at + 1 + key_length, 4):uint()
            if value_length > r:left() - key_length - 5 then break end
            r.at = r.at + 1
            local key = r:text("properties.name", key_length)
            r.at = r.at + 4
            local value = r:text("properties.value", value_length)
            if value ~= "" then parts[#parts + 1] = key .. " " .. value end
        end
        return "READY", "READY: " .. table.concat(parts, ", ")
    elseif name == "PING" then
        local ttl = 0
        if r:left() >= 2 then ttl = r:number("ttl", 2) end
        local left = r:left()
        r:bytes("context", left)
        return "PING", ("PING, time to live %g s"):format(ttl / 10)
    elseif name == "PONG" then
        local left = r:left()
        r:bytes("context", left)
        return "PONG", "PONG"
    elseif name == "ERROR" then
        r.at = math.min(r.at + 1, r.stop)
        return "ERROR", "ERROR: " .. r:text("reason", r:left())
    end
    local left = r:left()
    -- Known by its name alone.
    r.tree:add_packet_field(p.fields.name, r.tvb(at, n), ENC_UTF_8)
    r:bytes("data", left)
    return "command", "command " .. shown
end

-- The head of a unit: its own length, the length of what follows, and its flags. nil where bytes are missing, false where it is none.
local function unit_head(tvb, offset, version)
    local have = tvb:len() - offset
    if have < 2 then return nil end
    local first = tvb(offset, 1):uint()
    local function long(at)
        return tvb(at, 4):uint() * 4294967296.0 + tvb(at + 4, 4):uint()
    end
    if version == 1 then
        local n, length = 2, first
        if first == 0xff then
            if have < 10 then return nil end
            n, length = 10, long(offset + 1)
        end
        if length == 0 or length - 1 > MAX_UNIT then return false end
        local flags = tvb(offset + n - 1, 1):uint()
        return { n = n, length = length - 1, flags = flags, more = flags % 2 == 1, command = false }
    end
    local more, is_long, command = first % 2 == 1, math.floor(first / 2) % 2 == 1, math.floor(first / 4) % 2 == 1
    if first > 7 or (command and more) or (version == 2 and command) then return false end
    if is_long and have < 9 then return nil end
    local length = is_long and long(offset + 1) or tvb(offset + 1, 1):uint()
    if length > MAX_UNIT then return false end
    return { n = is_long and 9 or 2, length = length, flags = first, more = more, command = command, long = is_long }
end

-- The version of ZMTP, or "plain", by the first bytes of a stream; 4 stands for the middle of a stream. nil where bytes are missing.
local function guess(tvb, offset)
    local have = tvb:len() - offset
    local function byte(i) return tvb(offset + i, 1):uint() end
    local a = byte(0)
    if a == 0 then return 4 end
    if have < 2 then return nil end
    local b = byte(1)
    if a <= 7 then
        if b ~= 0 then return 4 end
        if a == 5 or a == 7 then return 1 end
        if have < 3 then return nil end
        local c = byte(2)
        if c == 0 or (a == 1 and c == 2) then return 4 end
        return 1
    end
    if b ~= 0 then return "plain" end
    -- A text with a long length, which is as short.
    if a == 0xdb or a == 0xc6 then
        if have < 3 then return nil end
        return byte(2) ~= 0 and 1 or "plain"
    end
    if a == 0xda or a == 0xc5 then
        if have < 3 then return nil end
        local word = ({ [6] = "update", [7] = "request", [8] = "response", [10] = "join_group", [11] = "add_contact" })[byte(2)]
        if not word then return 1 end
        local known = math.min(#word, have - 3)
        if tvb:raw(offset + 3, known) ~= word:sub(1, known) then return 1 end
        return known == #word and "plain" or nil
    end
    return 1
end

local STARTS = { "\167request", "\168response", "\166update" }

-- Whether a frame begins as a message does, and no identity.
local function is_message(tvb, at, stop)
    for _, start in ipairs(STARTS) do
        if stop - at >= #start and tvb:raw(at, #start) == start then return true end
    end
    return false
end

-- Of numbers with their marker.
local WIDTHS = {
    [0xca] = 5, [0xcb] = 9, [0xcc] = 2, [0xcd] = 3, [0xce] = 5, [0xcf] = 9, [0xd0] = 2, [0xd1] = 3, [0xd2] = 5, [0xd3] = 9,
}

-- The length of the message of plain objects at `offset`: nil where bytes are missing, false where it is none. `walk` is where the last
-- call for this message stopped in a list: long lists are not gone through once for each segment.
local function plain_length(tvb, offset, from_client, walk)
    local at, size = offset, tvb:len()
    local function next_object(wanted)
        local kind, n, value = head(tvb, at, size)
        if not kind then return nil end
        if kind ~= wanted then return false end
        if kind == "text" then
            if n + value > MAX_UNIT then return false end
            if at + n + value > size then return nil end
            local raw = tvb:raw(at + n, value)
            at = at + n + value
            return raw
        end
        at = at + n
        return value
    end
    local function skip_samples()
        local count = next_object("list")
        if not count then return count end
        local first, start = 1, at
        if walk.list == at - offset and size - offset >= walk.have then first, at = walk.index, offset + walk.at end
        local raw = at < size and tvb:raw(at, size - at) or ""
        local next_at, byte = 1, string.byte
        for i = first, count do
            local marker = byte(raw, next_at)
            if not marker then
                walk.list, walk.have, walk.index, walk.at = start - offset, size - offset, i, at + next_at - 1 - offset
                return nil
            end
            local width = (marker < 0x80 or marker >= 0xe0) and 1 or WIDTHS[marker]
            if not width then return false end
            next_at = next_at + width
        end
        at = at + next_at - 1
        if at > size then return nil end
        return true
    end
    local kind = next_object("text")
    if not kind then return kind end
    local keys
    if REQUESTS[kind] and from_client then
        keys = REQUESTS[kind]
    else
        local action = next_object("text")
        if not action then return action end
        if kind == "response" then
            local code = next_object("uint")
            if not code then return code end
            keys = code == 0 and SUCCESSES[action] or {}
        elseif kind == "request" then
            keys = REQUESTS[action]
        elseif kind == "update" then
            keys = (from_client and CLIENT_UPDATES or SERVER_UPDATES)[action]
        end
    end
    if not keys then return false end
    for _, key in ipairs(keys) do
        local done
        if KINDS[key] == "samples" then
            done = skip_samples()
        else
            done = next_object(KINDS[key] or "text")
        end
        if not done then return done end
    end
    return at - offset
end

-- What is next in a direction: {what, version, length}. nil where bytes are missing.
local function next_unit(tvb, offset, pinfo)
    local key = common.direction(pinfo)
    local stream = streams[key]
    if not stream then
        stream = { place = "start", walk = {} }
        streams[key] = stream
        local conversation = common.conversation(pinfo)
        stream.pair = streams[conversation] or {}
        streams[conversation] = stream.pair
        stream.pair[key] = stream
    end
    local have = tvb:len() - offset
    local first = tvb(offset, 1):uint()
    local version = stream.version
    if pinfo.visited and stream.greeting and first == 0xff and have >= SIGNATURE
        and tvb:raw(offset, SIGNATURE) == stream.signature then
        return stream.greeting
    end
    if first == 0xff and (stream.place == "start" or version ~= 1 and version ~= "plain") then
        if have < SIGNATURE then return nil end
        if tvb(offset + 9, 1):uint() % 2 == 1 then
            local other
            for name, peer in pairs(stream.pair) do
                if name ~= key then other = peer.version end
            end
            if other == 1 then return { what = "greeting", version = 1, length = SIGNATURE, stream = stream, next = "units" } end
            if have < SIGNATURE + 1 then return nil end
            local revision = tvb(offset + 10, 1):uint()
            version = revision == 0 and 1 or revision <= 2 and 2 or 3
            -- Both speak the older version of the two.
            if other == 2 then version = 2 end
            -- One side of 1.0: behind the signature, which is an identity there, come a length, flags and a text.
            if have < GREETING_2 then return nil end
            if tvb(offset + 11, 1):uint() == 0 then
                if have < GREETING_2 + 1 then return nil end
                if tvb(offset + 12, 1):uint() >= 0xa0 then version = 1 end
            end
            return { what = "greeting", version = version, length = greeting_length(version), stream = stream,
                next = version == 2 and "identity" or "units" }
        end
        version, stream.version, stream.place = 1, 1, "identity"
    end
    if not version or stream.place == "start" then
        version = guess(tvb, offset)
        if not version then return nil end
        local place = version == 1 and "identity" or "units"
        if version == 4 then version = 3 end
        stream.version, stream.place = version, place
    end
    if version == "plain" then
        -- The type tells the side.
        local start = tvb:raw(offset, math.min(9, have))
        local from_client = start:sub(1, 8) == STARTS[1] or start:sub(1, 9) ~= STARTS[2] and is_from_client(pinfo)
        local length = plain_length(tvb, offset, from_client, pinfo.visited and {} or stream.walk)
        if length == nil then return nil end
        return { what = "plain", length = length or have, stream = stream, next = "units" }
    end
    local unit = unit_head(tvb, offset, version)
    if unit == nil then return nil end
    if unit == false then return { what = "bad", version = version, length = have, stream = stream, next = "units" } end
    local length = unit.n + unit.length
    local what = "unit"
    if pinfo.visited then
        if have >= length and tvb:raw(offset, length) == stream.identity then what = "identity" end
    elseif stream.place == "identity" and have >= length and not is_message(tvb, offset + unit.n, offset + length) then
        what = "identity"
    end
    return { what = what, version = version, length = length, stream = stream, next = "units" }
end

-- Behind what was shown now. Greeting and identity are kept: where they are looked at again, the stream is somewhere else.
local function advance(found, tvb, offset, pinfo)
    if pinfo.visited then return end
    local stream = found.stream
    stream.version = found.version or stream.version
    stream.place, stream.walk = found.next, {}
    if found.what == "greeting" then
        stream.greeting, stream.signature = found, tvb:raw(offset, SIGNATURE)
    elseif found.what == "identity" then
        stream.identity = tvb:raw(offset, found.length)
    end
end

local function show_unit(found, tvb, offset, stop, pinfo, tree)
    local function message(decode) common.message(p, tvb, offset, stop, pinfo, tree, decode, false) end
    if found.what == "greeting" then return message(decode_greeting(found.version)) end
    if found.what == "plain" then
        return message(function(r)
            r:derived("dialect", "plain objects")
            return decode_message(r, pinfo)
        end)
    end
    message(function(r)
        local version = ({ "ZMTP 1.0", "ZMTP 2.0", "ZMTP 3" })[found.version]
        r:derived("dialect", version)
        local unit = unit_head(tvb, offset, found.version)
        if not unit then r:fail("flags", "no flags or no length of " .. version) end
        if unit.n > r:left() then r:fail("length", ("%d more bytes expected"):format(unit.n - r:left())) end
        local head_tree = r.tree:add(tvb(offset, unit.n), version .. " unit")
        -- In 1.0 the flags are behind the length, which counts them.
        local flags_at = found.version == 1 and offset + unit.n - 1 or offset
        local flags_item = head_tree:add(p.fields["zmtp.flags"], tvb(flags_at, 1))
        flags_item:add(p.fields["zmtp.more"], tvb(flags_at, 1), unit.more)
        if found.version ~= 1 then
            flags_item:add(p.fields["zmtp.long"], tvb(flags_at, 1), unit.long)
            flags_item:add(p.fields["zmtp.command"], tvb(flags_at, 1), unit.command)
        end
        local length_at = found.version == 1 and offset or offset + 1
        head_tree:add(p.fields["zmtp.length"], tvb(length_at, unit.n - 1), UInt64(unit.length, 0))
        r.at = offset + unit.n
        -- Offsets in errors count from the message, as the decoder has them.
        r.first = r.at
        if found.what == "identity" then
            local n = r:left()
            r:bytes("zmtp.identity", n)
            return "identity", n == 0 and "identity: none" or "identity of " .. common.plural(n, "byte")
        end
        if unit.command then return decode_command(r) end
        if unit.more and unit.length == 0 then return "delimiter", "delimiter of a REQ socket" end
        if unit.more then
            local n = r:left()
            r:bytes("zmtp.frame", n)
            r.name = "frame"
            common.fail("frame", 0, "a message of several frames, expected one")
        end
        return decode_message(r, pinfo)
    end)
end

function p.proto.dissector(tvb, pinfo, tree)
    local found
    local function cut(_, offset)
        found = next_unit(tvb, offset, pinfo)
        return found and found.length
    end
    return common.stream(tvb, pinfo, cut, function(offset, stop)
        if not found then
            found = { what = "bad", version = 3, length = stop - offset, stream = {}, next = "units" }
        end
        show_unit(found, tvb, offset, stop, pinfo, tree)
        advance(found, tvb, offset, pinfo)
    end)
end

-- A message at the beginning of a segment, in a unit of ZMTP or not. Greetings alone are any ZeroMQ program's.
p.proto:register_heuristic("tcp", function(tvb, pinfo, tree)
    local size = tvb:len()
    if size < 12 then return false end
    local first, at = tvb(0, 1):uint(), 0
    if first == 0 or tvb(1, 1):uint() == 0 then
        at = 2
    elseif first == 2 then
        at = 9
    end
    if not is_message(tvb, at, size) then return false end
    local _, n, length = head(tvb, at, size)
    local next_at = at + n + length
    local kind, n_action, action_length = head(tvb, next_at, size)
    if kind ~= "text" or next_at + n_action + action_length > size then return false end
    local action = tvb:raw(next_at + n_action, action_length)
    if not REQUESTS[action] and not SERVER_UPDATES[action] then return false end
    pinfo.conversation = p.proto
    p.proto.dissector(tvb, pinfo, tree)
    return true
end)

common.ports(p, { tcp = "4242" })
