-- syfala over UDP, see proto-syfala/PROTOCOL.md.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

-- Of a Connect, so many formats are shown.
local MAX_SHOWN = 1000

local FROM_CLIENT = {
    [0] = "Discovery", "ConnectionSuccess", "ConnectionFailed", "ConnectionRefused", "StartIO", "StopIO", "Audio", "Disconnect",
    "Heartbeat",
}
local FROM_SERVER = {
    [0] = "Connect", "StartIOFailed", "StartIORefused", "StartIOSuccess", "StopIOFailed", "StopIORefused", "StopIOSuccess", "Audio",
    "Disconnect", "Heartbeat",
}
local SAMPLE_TYPES =
    { [0] = "U8", "U16", "U24", "U32", "U64", "I8", "I16", "I24", "I32", "I64", "IEEF32", "IEEF64" }
local SIZES = { [0] = 1, 2, 3, 4, 8, 1, 2, 3, 4, 8, 4, 8 }

local function format_fields(list, label)
    return { list .. ".sample_rate", label .. " sample rate", "double" },
        { list .. ".channel_count", label .. " channel count", "u32" },
        { list .. ".buffer_size", label .. " buffer size", "u32" },
        { list .. ".sample_type", label .. " sample type", "u32", base.DEC, SAMPLE_TYPES }
end

local fields = {
    { "from", "from", "text" },
    { "number", "message number", "u32" },
    { "inputs.count", "input count", "u64" },
    { "outputs.count", "output count", "u64" },
    { "stream_index", "stream index", "u32" },
    { "byte_index", "byte index", "u64" },
    { "n_bytes", "n_bytes", "u32" },
    { "audio", "audio", "bytes" },
    { "lost", "bytes missing before", "u64" },
}
for _, list in ipairs({ "inputs", "outputs" }) do
    local a, b, c, d = format_fields(list, list == "inputs" and "input" or "output")
    for _, field in ipairs({ a, b, c, d }) do fields[#fields + 1] = field end
end
local p = common.protocol("syfala", "syfala", fields)

-- By server: its formats. By direction and stream: the byte index that is next. By conversation: the client's address.
local formats, next_byte, clients = common.history(), common.history(), common.history()
-- What was missing before a packet, found when it was first looked at.
local gaps = {}
function p.proto.init()
    formats.clear()
    next_byte.clear()
    clients.clear()
    gaps = {}
end

-- Whether a client has sent it: by the server's port, or by what heuristics have found.
local function is_from_client(pinfo)
    local to, from = p.is_server.udp(pinfo.dst_port), p.is_server.udp(pinfo.src_port)
    if to ~= from then return to end
    local client = clients.get(common.conversation(pinfo), pinfo)
    if client then return client == common.address(pinfo.src, pinfo.src_port) end
    return pinfo.dst_port == pinfo.match_uint
end

-- A varint of postcard: `most` bytes at most, below `limit`.
local function varint(r, key, name, most, limit)
    local value, scale, n = 0, 1, 0
    repeat
        if n >= r:left() then r:fail(name, "1 more bytes expected before the end of the frame") end
        local byte = r.tvb(r.at + n, 1):uint()
        value, scale, n = value + byte % 128 * scale, scale * 128, n + 1
        if n == most and (byte >= 128 or value >= limit) then
            r:fail(name, ("%d found, expected a varint of its width"):format(r.tvb(r.at, 1):uint()))
        end
    until byte < 128
    local item
    if limit > 4294967296 then
        item = r.tree:add(p.fields[key], r:range(n), UInt64(value % 4294967296, math.floor(value / 4294967296)))
    else
        item = r.tree:add(p.fields[key], r:range(n), value)
    end
    r.at = r.at + n
    return value, item
end

local U32, U64 = 4294967296, 18446744073709551616

local function is_rate(rate) return rate >= 2.2250738585072014e-308 and rate < math.huge end

local function read_format(r, list)
    local format = {}
    r:need("sample rate", 8)
    format.rate = r:range(8):le_float()
    if not is_rate(format.rate) then r:fail("sample rate", "expected the bits of a positive, normal f64") end
    r.tree:add_le(p.fields[list .. ".sample_rate"], r:range(8))
    r.at = r.at + 8
    local at = r:offset()
    format.channels = varint(r, list .. ".channel_count", "channel count", 5, U32)
    if format.channels == 0 then common.fail("channel count", at, "0 found, expected at least 1") end
    format.buffer = varint(r, list .. ".buffer_size", "buffer size", 5, U32)
    at = r:offset()
    format.kind = varint(r, list .. ".sample_type", "sample type", 5, U32)
    if not SAMPLE_TYPES[format.kind] then
        common.fail("sample type", at, ("%d found, expected a type from 0 to 11"):format(format.kind))
    end
    return format
end

local function describe(format)
    return ("%g Hz x %d %s"):format(format.rate, format.channels, SAMPLE_TYPES[format.kind])
end

local function read_formats(r, list)
    local count = varint(r, list .. ".count", list, 10, U64)
    if count * 11 > r:left() then
        r:fail(list, ("%.0f more bytes expected before the end of the frame"):format(count * 11 - r:left()))
    end
    local found, tree = {}, r.tree
    for i = 1, count do
        if i > MAX_SHOWN then
            r.tree:add(r:range(r:left()), ("... and %d more"):format(count - MAX_SHOWN))
            r.at = r.stop
            break
        end
        found[i] = r:group("", function(item)
            local format = read_format(r, list)
            item:set_text(("%s %d: %s"):format(list == "inputs" and "Input" or "Output", i - 1, describe(format)))
            return format
        end)
    end
    r.tree = tree
    return found
end

-- Bytes that no packet of the stream has carried, found in the order of the packets.
local function missing(pinfo, stream, index, n)
    local key = ("%s#%d"):format(common.direction(pinfo), stream)
    local id = ("%d#%d#%.0f"):format(pinfo.number, stream, index)
    if not pinfo.visited then
        local expected = next_byte.get(key, pinfo)
        -- A stream that starts again starts at 0.
        gaps[id] = expected and index > expected and index - expected or nil
        if not expected or index >= expected or index == 0 then next_byte.put(key, pinfo, index + n) end
    end
    return gaps[id]
end

local function audio(r, pinfo, from_client)
    local stream = r:number("stream_index", 4)
    r:need("byte index", 8)
    local index = r:number("byte_index", 8)
    local n, item = r:number("n_bytes", 4)
    local have = r:left()
    r:bytes("audio", have)
    if have ~= n then r:note(item, ("The payload has %s"):format(common.plural(have, "byte"))) end
    local server = from_client and common.address(pinfo.dst, pinfo.dst_port) or common.address(pinfo.src, pinfo.src_port)
    local known = formats.get(server, pinfo)
    local format = known and known[from_client and "outputs" or "inputs"][stream + 1]
    local size = common.plural(have, "byte")
    if format then
        local frame = format.channels * SIZES[format.kind]
        if have % frame == 0 then
            size = ("%s x %d %s"):format(common.plural(have / frame, "frame"), format.channels, SAMPLE_TYPES[format.kind])
        end
    end
    local info = ("Audio of %s %d, %s from byte %.0f"):format(from_client and "output" or "input", stream, size, index)
    local gap = missing(pinfo, stream, index, have)
    if gap then
        local lost = r.tree:add(p.fields.lost, r.tvb(r.at, 0), UInt64(gap % U32, math.floor(gap / U32)))
        lost:set_generated(true)
        r:note(lost, ("%.0f bytes of the stream have not been seen"):format(gap))
        info = info .. (", %.0f bytes missing before"):format(gap)
    end
    return info
end

local function decode(r, pinfo)
    local from_client = is_from_client(pinfo)
    r:derived("from", from_client and "client" or "server")
    local number, item = varint(r, "number", "message", 5, U32)
    local names = from_client and FROM_CLIENT or FROM_SERVER
    local name = names[number]
    if not name then
        common.fail("message", 0, ("unknown tag %d, expected a %s's message from 0 to %d"):format(
            number, from_client and "client" or "server", #names))
    end
    r.name = name
    item:append_text(" (" .. name .. ")")
    if name == "Audio" then return name, audio(r, pinfo, from_client) end
    if name ~= "Connect" then return name, name end
    local inputs, outputs = read_formats(r, "inputs"), read_formats(r, "outputs")
    formats.put(common.address(pinfo.src, pinfo.src_port), pinfo, { inputs = inputs, outputs = outputs })
    local parts = {}
    for _, part in ipairs({ { "input", inputs }, { "output", outputs } }) do
        local first = part[2][1]
        parts[#parts + 1] = common.plural(#part[2], part[1]) .. (first and " (" .. describe(first) .. ")" or "")
    end
    return name, "Connect: offers " .. table.concat(parts, ", ")
end

-- Where the datagram ends that begins at `offset`. A capture on the sender's machine may hold several as one, before the system has
-- cut them (segmentation offload): Audio, and behind its bytes more audio, of as many bytes or of fewer.
local function datagram_end(tvb, offset)
    local size = tvb:len()
    if size - offset <= 34 then return size end
    local first = tvb(offset, 1):uint()
    local count = tvb(offset + 13, 4):le_uint()
    local stop = offset + 17 + count
    if first ~= 6 and first ~= 7 or count == 0 or stop + 17 > size then return size end
    local more = tvb(stop + 13, 4):le_uint()
    return tvb(stop, 1):uint() == first and more > 0 and more <= count and stop or size
end

function p.proto.dissector(tvb, pinfo, tree)
    local offset = 0
    repeat
        local stop = datagram_end(tvb, offset)
        common.message(p, tvb, offset, stop, pinfo, tree, decode, true)
        offset = stop
    until offset >= tvb:len()
    return tvb:len()
end

-- Audio whose head fits its payload, and Connect whose formats fill the datagram. All else is too short to be known.
p.proto:register_heuristic("udp", function(tvb, pinfo, tree)
    if tvb:len() < 13 then return false end
    local first = tvb(0, 1):uint()
    local from_client
    if first == 0 then
        local ok, left = pcall(function()
            local root = { add = function() end, add_le = function() end }
            local r = common.reader(p, tvb, 1, tvb:len(), root, true)
            local count = 0
            for _ = 1, 2 do
                local n = tvb(r.at, 1):uint()
                if n > 64 then return 1 end
                r.at, count = r.at + 1, count + n
                for _ = 1, n do read_format(r, "inputs") end
            end
            return count > 0 and r:left() or 1
        end)
        if not ok or left > 0 then return false end
        from_client = false
    elseif first == 6 or first == 7 then
        if tvb:len() < 18 or tvb(13, 4):le_uint() ~= datagram_end(tvb, 0) - 17 or tvb(1, 4):le_uint() >= 64 then return false end
        from_client = first == 6
    else
        return false
    end
    local client = from_client and common.address(pinfo.src, pinfo.src_port) or common.address(pinfo.dst, pinfo.dst_port)
    clients.put(common.conversation(pinfo), pinfo, client)
    pinfo.conversation = p.proto
    p.proto.dissector(tvb, pinfo, tree)
    return true
end)

common.ports(p, { udp = "6911" })
