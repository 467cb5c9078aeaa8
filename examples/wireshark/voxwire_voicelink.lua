-- voicelink over TCP, see proto-voicelink/PROTOCOL.md.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

-- MAX_DATA: a longer packet is no packet.
local MAX_LENGTH = 1024 * 1024

local TYPES = {
    [0] = "Handshake", "UserNotFound", "Parameters", "Close", "Accept", "Drop", "Data",
}
local FORMATS = { [0] = "uint8", "int8", "int16", "int32", "float32" }
local SIZES = { [0] = 1, 1, 2, 4, 4 }

local p = common.protocol("voicelink", "voicelink", {
    { "byte_order", "byte order", "text" },
    { "length", "Length", "u32" },
    { "type", "Message Type", "u16", base.DEC, TYPES },
    { "sample_rate", "Sample Rate", "u32" },
    { "channels", "Channels Count", "u16" },
    { "format", "Format Type", "u8", base.DEC, FORMATS },
    { "chunk_size", "Chunk Size", "u32" },
    { "user_name_length", "Username Length", "u16" },
    { "user_name", "Username", "text" },
    { "optional_data", "Optional Data", "bytes" },
    { "registration.name", "registered name", "text" },
    { "registration.secret", "secret", "text" },
    { "registration.order", "sample order", "text" },
    { "reason", "reason", "text" },
    { "data", "Data", "bytes" },
})
local ORDERS = { { 1, "detect", 0 }, { 2, "big-endian", 1 }, { 3, "little-endian", 2 } }
p.proto.prefs.byte_order =
    Pref.enum("Byte order", 0, "Byte order of the packets' heads, where it shall not be detected", ORDERS, false)

-- Whether the heads of a connection are little-endian, and the parameters of its last proposal.
local order, parameters = common.history(), common.history()
-- The client's port of each connection: the client speaks first.
local clients = common.history()
function p.proto.init()
    order.clear()
    parameters.clear()
    clients.clear()
end

-- By the type, of which one byte is zero; by the Length, of which two are.
local function detect(tvb, offset)
    local have = tvb:len() - offset
    if have >= 6 then
        local high, low = tvb(offset + 4, 1):uint(), tvb(offset + 5, 1):uint()
        if high == 0 and low > 0 then return false end
        if low == 0 and high > 0 then return true end
    end
    if have >= 4 then
        local high, low = tvb(offset, 2):uint(), tvb(offset + 2, 2):uint()
        if high == 0 and low > 0 then return false end
        if low == 0 and high > 0 then return true end
    end
end

local function is_little(tvb, offset, pinfo)
    if p.proto.prefs.byte_order ~= 0 then return p.proto.prefs.byte_order == 2 end
    local conversation = common.conversation(pinfo)
    local known = order.get(conversation, pinfo)
    if known == nil then
        known = detect(tvb, offset)
        if known ~= nil then order.put(conversation, pinfo, known) end
    end
    return known or false
end

local function is_from_client(pinfo)
    local to, from = p.is_server.tcp(pinfo.dst_port), p.is_server.tcp(pinfo.src_port)
    if to ~= from then return to end
    return clients.get(common.conversation(pinfo), pinfo) == pinfo.src_port
end

local function read_parameters(r)
    local values = {}
    values.rate = r:number("sample_rate", 4)
    values.channels = r:number("channels", 2)
    local at = r:offset()
    values.format = r:number("format", 1)
    r:number("chunk_size", 4)
    return values, at
end

-- Formats are looked at once all fields are there.
local function check_format(values, at)
    if not FORMATS[values.format] then
        common.fail("Format Type", at, ("%d found, expected a format from 0 to 4"):format(values.format))
    end
end

local function describe(values)
    return ("%d Hz, %s, %s"):format(values.rate, common.plural(values.channels, "channel"), FORMATS[values.format])
end

-- Name, secret and order, with NUL between them.
local function read_registration(r)
    local start = r.at
    local parts, keys = {}, { "registration.name", "registration.secret", "registration.order" }
    r:group("Registration", function()
        for i, key in ipairs(keys) do
            if r.at > r.stop then break end
            local n = 0
            while i < 3 and r.at + n < r.stop and r.tvb(r.at + n, 1):uint() ~= 0 do n = n + 1 end
            if i == 3 then n = r:left() end
            parts[i] = r:text(key, n)
            if r.at >= r.stop then break end
            r.at = r.at + 1
        end
    end)
    r.at = start
    return parts[1]
end

local function optional(r)
    local n = r:left()
    if n > 0 then r:bytes("optional_data", n) end
    return n
end

local function decode(r, pinfo)
    local conversation = common.conversation(pinfo)
    if clients.get(conversation, pinfo) == nil then clients.put(conversation, pinfo, pinfo.src_port) end
    r:derived("byte_order", r.little and "little-endian" or "big-endian")
    local length = r:number("length", 4)
    if length < 6 then
        common.fail("Length", 0, ("%d found, expected at least 6, the Length counts itself"):format(length))
    elseif length > MAX_LENGTH then
        common.fail("Length", 0, ("%d announced, at most %d allowed"):format(length, MAX_LENGTH))
    end
    local kind, item = r:number("type", 2)
    local name = TYPES[kind]
    if not name then common.fail("Message Type", 4, ("unknown tag %d, expected a type from 0 to 6"):format(kind)) end
    if kind == 0 and r:left() == 0 then
        r:note(item, "Type 0 without a body is UserNotFound, as the document's table has it")
        return "UserNotFound", "UserNotFound"
    end
    r.name = name
    if kind == 0 then
        local values, at = read_parameters(r)
        local n = r:number("user_name_length", 2)
        check_format(values, at)
        local user = r:text("user_name", n)
        local about = describe(values)
        if n == 0 then
            local registered = r:left() > 0 and read_registration(r) or ""
            optional(r)
            return name, ("Handshake: registers %s (%s)"):format(common.name(registered), about)
        end
        parameters.put(conversation, pinfo, values)
        optional(r)
        local verb = is_from_client(pinfo) and "calls" or "called by"
        return name, ("Handshake: %s %s (%s)"):format(verb, user, about)
    elseif kind == 1 then
        if r:left() > 0 then common.fail("UserNotFound", 6, ("%d bytes after the end of the message"):format(r:left())) end
        return name, name
    elseif kind == 2 then
        local values, at = read_parameters(r)
        check_format(values, at)
        parameters.put(conversation, pinfo, values)
        optional(r)
        return name, "Parameters: proposes " .. describe(values)
    elseif kind == 6 then
        local n = r:left()
        r:bytes("data", n)
        local values = parameters.get(conversation, pinfo)
        local frame = values and values.channels * SIZES[values.format] or 0
        if frame == 0 or values.rate == 0 or n % frame > 0 then
            return name, "Data, " .. common.plural(n, "byte")
        end
        local frames = n / frame
        return name, ("Data, %s %s, %.4g ms"):format(
            common.plural(frames, "frame"), FORMATS[values.format], frames * 1000 / values.rate)
    end
    local n = optional(r)
    if kind == 5 and n > 0 then
        local reason = common.clean(r.tvb(r.at - n, n):string(ENC_UTF_8))
        r:derived("reason", reason, n)
        return name, "Drop: " .. reason
    end
    return name, n > 0 and ("%s, %s of optional data"):format(name, common.plural(n, "byte")) or name
end

function p.proto.dissector(tvb, pinfo, tree)
    local function cut(_, offset)
        if tvb:len() - offset < 6 then return nil end
        local little = is_little(tvb, offset, pinfo)
        local length = little and tvb(offset, 4):le_uint() or tvb(offset, 4):uint()
        -- Where the next packet begins, nothing says then.
        if length < 6 or length > MAX_LENGTH then return tvb:len() - offset end
        return length
    end
    return common.stream(tvb, pinfo, cut, function(offset, stop)
        common.message(p, tvb, offset, stop, pinfo, tree, decode, is_little(tvb, offset, pinfo))
    end)
end

-- Connections begin with a Handshake.
p.proto:register_heuristic("tcp", function(tvb, pinfo, tree)
    if tvb:len() < 19 then return false end
    local little = detect(tvb, 0)
    if little == nil then return false end
    local function number(offset, width)
        return little and tvb(offset, width):le_uint() or tvb(offset, width):uint()
    end
    local length, rate, channels = number(0, 4), number(6, 4), number(10, 2)
    local is_handshake = number(4, 2) == 0 and length >= 19 and length <= 65535 and rate > 0 and rate <= 768000
        and channels > 0 and channels <= 64 and tvb(12, 1):uint() <= 4 and number(13, 4) <= 1048576
        and number(17, 2) <= 255 and 19 + number(17, 2) <= length
    if not is_handshake then return false end
    pinfo.conversation = p.proto
    p.proto.dissector(tvb, pinfo, tree)
    return true
end)

common.ports(p, { tcp = "4240" })
