-- What the dissectors of voxwire's protocols share. Wireshark loads it as a script of its own, too, which changes nothing.
--
-- Lua 5.1 to 5.4: no operators on bits, no goto.

local common = {}

-- Fields ----------------------------------------------------------------------------------------------------------------------

local kinds = {
    u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64,
    bool = ProtoField.bool, double = ProtoField.double, text = ProtoField.string, bytes = ProtoField.bytes,
    ipv4 = ProtoField.ipv4, ipv6 = ProtoField.ipv6,
}

-- Numbers with a value string are shown as `name (number)`.
local function make(abbreviation, label, kind, base, names)
    if kind == "bool" or kind == "text" or kind == "bytes" or kind == "double" or kind == "ipv4" or kind == "ipv6" then
        return kinds[kind](abbreviation, label)
    end
    return kinds[kind](abbreviation, label, base or base.DEC, names)
end

-- Declares `vox.NAME`. Each field is {key, name, kind, base, names of values}; `name` is the document's, which errors use.
function common.protocol(name, title, fields)
    local p = { name = name, column = name, fields = {}, names = {}, titles = {}, proto = Proto("vox." .. name, title) }
    local list = {}
    local function add(key, label, kind, number_base, values)
        local abbreviation = "vox." .. name .. "." .. key
        local title = label:gsub("_", " "):gsub("^%l", string.upper)
        local field = make(abbreviation, title, kind, number_base or base.DEC, values)
        p.fields[key], p.names[key], p.titles[key] = field, label, title
        list[#list + 1] = field
    end
    add("message", "message", "text")
    for _, field in ipairs(fields) do
        add(field[1], field[2], field[3], field[4], field[5])
    end
    add("trailing", "bytes behind the message", "bytes")
    add("undecoded", "bytes not decoded", "bytes")
    p.proto.fields = list
    p.malformed = ProtoExpert.new(
        "vox." .. name .. ".malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
    p.note = ProtoExpert.new("vox." .. name .. ".note", "Unusual", expert.group.PROTOCOL, expert.severity.NOTE)
    p.proto.experts = { p.malformed, p.note }
    return p
end

-- Ports -----------------------------------------------------------------------------------------------------------------------

-- A test for the ports of a range such as "4240,5000-5010".
local function members(range)
    local spans = {}
    for first, last in range:gmatch("(%d+)%-?(%d*)") do
        spans[#spans + 1] = { tonumber(first), tonumber(last) or tonumber(first) }
    end
    return function(port)
        for _, span in ipairs(spans) do
            if span[1] <= port and port <= span[2] then return true end
        end
        return false
    end
end

-- A preference for the server's ports of each transport, {tcp = "4240"}, and "Decode As" for it. `p.is_server[transport](port)`
-- tells whether a port is one of them.
function common.ports(p, defaults)
    local current = {}
    p.is_server = {}
    for transport, default in pairs(defaults) do
        local upper = transport:upper()
        p.proto.prefs[transport .. "_ports"] =
            Pref.range(upper .. " ports", default, upper .. " ports of servers", 65535)
    end
    local function tables(transport)
        -- What TLS has decrypted is a stream as well.
        local names = transport == "tcp" and { "tcp.port", "tls.port" } or { transport .. ".port" }
        local found = {}
        for _, name in ipairs(names) do
            local ok, dissectors = pcall(DissectorTable.get, name)
            if ok and dissectors then found[#found + 1] = dissectors end
        end
        return found
    end
    local function apply()
        for transport in pairs(defaults) do
            local range = tostring(p.proto.prefs[transport .. "_ports"] or "")
            if range ~= current[transport] then
                for _, dissectors in ipairs(tables(transport)) do
                    if (current[transport] or "") ~= "" then dissectors:remove(current[transport], p.proto) end
                    if range ~= "" then dissectors:add(range, p.proto) end
                end
                current[transport], p.is_server[transport] = range, members(range)
            end
        end
    end
    apply()
    p.proto.prefs_changed = apply
    for transport in pairs(defaults) do
        for _, dissectors in ipairs(tables(transport)) do
            pcall(function() dissectors:add_for_decode_as(p.proto) end)
        end
    end
end

-- What is known of conversations ----------------------------------------------------------------------------------------------

local stream_number = Field.new("tcp.stream")

-- An address in a key. Numbers are formatted: Lua 5.4 writes some of them as 4240.0.
function common.address(ip, port) return ("%s|%d"):format(tostring(ip), port) end

-- The key of a TCP connection, or of both directions of a pair of UDP addresses.
function common.conversation(pinfo)
    local stream = stream_number()
    if stream then return "tcp" .. tostring(stream.value) end
    local a, b = common.address(pinfo.src, pinfo.src_port), common.address(pinfo.dst, pinfo.dst_port)
    return a < b and a .. "|" .. b or b .. "|" .. a
end

-- The same, one direction of it.
function common.direction(pinfo)
    return common.conversation(pinfo) .. ">" .. common.address(pinfo.src, pinfo.src_port)
end

-- Values by key as they were at each packet: a packet that is looked at again is shown what was known then.
function common.history()
    local lists = {}
    return {
        put = function(key, pinfo, value)
            if pinfo.visited then return end
            local list = lists[key] or {}
            lists[key] = list
            local last = list[#list]
            if last and last.value == value then return end
            list[#list + 1] = { number = pinfo.number, value = value }
        end,
        get = function(key, pinfo)
            local list = lists[key] or {}
            for i = #list, 1, -1 do
                if list[i].number <= pinfo.number then return list[i].value end
            end
        end,
        clear = function() lists = {} end,
    }
end

-- Text from others --------------------------------------------------------------------------------------------------------------

-- Without what steers a terminal, and not too long.
function common.clean(text)
    text = text:gsub("[%c\127]", ".")
    text = text:gsub("\226\128[\142\143\168-\174]", "."):gsub("\226\129[\166-\169]", "."):gsub("\216\156", ".")
    if #text > 80 then
        -- Not in the middle of a character.
        text = text:sub(1, 77):gsub("[\192-\255][\128-\191]*$", "") .. "..."
    end
    return text
end

-- A name in a sentence: an empty one can be seen.
function common.name(text) return text == "" and '""' or text end

function common.plural(n, noun)
    return ("%d %s%s"):format(n, noun, n == 1 and "" or "s")
end

-- Errors in messages ------------------------------------------------------------------------------------------------------------

local Malformed = {}
Malformed.__index = Malformed
Malformed.__tostring = function(error) return ("%s at offset %d: %s"):format(error.field, error.offset, error.what) end

-- Ends the decoding of this message. Offsets count from the message's first byte.
function common.fail(field, offset, what)
    error(setmetatable({ field = field, offset = offset, what = what }, Malformed), 0)
end

-- Reading -----------------------------------------------------------------------------------------------------------------------

local Reader = {}
Reader.__index = Reader

-- A cursor over the bytes of `tvb` from `first` up to `stop`. What it reads becomes items of `reader.tree`.
function common.reader(p, tvb, first, stop, tree, little)
    return setmetatable({ p = p, tvb = tvb, first = first, at = first, stop = stop, tree = tree, little = little }, Reader)
end

function Reader:offset() return self.at - self.first end
function Reader:left() return self.stop - self.at end
function Reader:fail(field, what) common.fail(field, self:offset(), what) end

function Reader:need(name, n)
    if n > self:left() then
        self:fail(name, ("%d more bytes expected before the end of the frame"):format(n - self:left()))
    end
end

-- The next `n` bytes, of which one is wanted at least.
function Reader:range(n) return self.tvb(self.at, n) end

-- The number in the next bytes, without an item.
function Reader:peek(width, at)
    local range = self.tvb(self.at + (at or 0), width)
    if width == 8 then
        local low, high
        if self.little then
            low, high = range(0, 4):le_uint(), range(4, 4):le_uint()
        else
            high, low = range(0, 4):uint(), range(4, 4):uint()
        end
        return high * 4294967296.0 + low
    end
    if self.little then return range:le_uint() end
    return range:uint()
end

-- A number of 1, 2, 4 or 8 bytes. Those of 8 are exact up to 2^53.
function Reader:number(key, width)
    self:need(self.p.names[key], width)
    local value, range = self:peek(width), self:range(width)
    local item
    if self.little then
        item = self.tree:add_le(self.p.fields[key], range)
    else
        item = self.tree:add(self.p.fields[key], range)
    end
    self.at = self.at + width
    return value, item
end

-- `n` bytes. Without any there is an item, but no field.
function Reader:bytes(key, n)
    self:need(self.p.names[key], n)
    if n == 0 then return self.tree:add(self.tvb(self.at, 0), self.p.titles[key] .. ": none") end
    local item = self.tree:add(self.p.fields[key], self:range(n))
    self.at = self.at + n
    return item
end

-- `n` bytes of text. Returns what may be shown.
function Reader:text(key, n)
    self:need(self.p.names[key], n)
    local range = self:range(n)
    local item = self.tree:add_packet_field(self.p.fields[key], range, ENC_UTF_8)
    self.at = self.at + n
    return n > 0 and common.clean(range:string(ENC_UTF_8)) or "", item
end

-- An item that is not on the wire as such, over `n` bytes before the cursor.
function Reader:derived(key, value, n)
    n = n or 0
    local item = self.tree:add(self.p.fields[key], self.tvb(self.at - n, n), value)
    item:set_generated(true)
    return item
end

-- Reads what `body` reads as the items of one item.
function Reader:group(label, body)
    local outer, start = self.tree, self.at
    local item = outer:add(self.tvb(start, self:left()), label)
    self.tree = item
    local ok, result = pcall(body, item)
    self.tree = outer
    item:set_len(math.max(self.at - start, 0))
    if not ok then error(result, 0) end
    return result, item
end

function Reader:note(item, text) item:add_proto_expert_info(self.p.note, text) end

-- Messages ----------------------------------------------------------------------------------------------------------------------

-- The Info column gets one text from each message of a packet.
function common.info(pinfo, protocol, text)
    pinfo.cols.protocol:set(protocol)
    if pinfo.private.voxwire then
        pinfo.cols.info:append("; " .. text)
    else
        pinfo.cols.info:set(text)
        pinfo.private.voxwire = "1"
    end
    pinfo.cols.info:fence()
end

-- Shows the message from `first` up to `stop`. `decode(reader, pinfo)` returns its name, and what the Info column says of it. What is
-- malformed becomes an expert info. Returns whether nothing was.
function common.message(p, tvb, first, stop, pinfo, tree, decode, little)
    local root = tree:add(p.proto, tvb(first, stop - first))
    local reader = common.reader(p, tvb, first, stop, root, little)
    reader.root = root
    local ok, name, info = pcall(decode, reader, pinfo)
    if ok then
        root:append_text(", " .. info)
        root:add(p.fields.message, tvb(first, 0), name):set_generated(true)
        if reader:left() > 0 then root:add(p.fields.trailing, reader:range(reader:left())) end
    else
        if getmetatable(name) ~= Malformed then error(name, 0) end
        local problem = tostring(name)
        -- The root's last item, so that a message's own bytes come first.
        if reader:left() > 0 then root:add(p.fields.undecoded, reader:range(reader:left())) end
        root:append_text(", malformed")
        root:add_proto_expert_info(p.malformed, problem)
        info = "malformed: " .. problem
        if reader.name then info = reader.name .. ", " .. info end
    end
    common.info(pinfo, p.column, info)
    return ok
end

-- Shows the messages of a stream. `cut(tvb, offset)` returns the length of the unit there, or nil where more bytes are needed to
-- know it. `show(offset, stop)` shows one.
function common.stream(tvb, pinfo, cut, show)
    local offset, size = 0, tvb:len()
    while offset < size do
        local length = cut(tvb, offset)
        local missing = length and offset + length - size
        if missing and missing <= 0 then
            show(offset, offset + length)
            offset = offset + length
        elseif pinfo.can_desegment > 0 then
            pinfo.desegment_offset = offset
            pinfo.desegment_len = missing or DESEGMENT_ONE_MORE_SEGMENT
            return size
        else
            show(offset, size)
            offset = size
        end
    end
    return size
end

-- Opus --------------------------------------------------------------------------------------------------------------------------

-- What the first byte of an Opus packet says (RFC 6716, section 3.1).
function common.opus(first)
    local config = math.floor(first / 8)
    local mode, bandwidth, duration
    if config < 12 then
        mode = "SILK"
        bandwidth = ({ "narrowband", "mediumband", "wideband" })[math.floor(config / 4) + 1]
        duration = ({ "10", "20", "40", "60" })[config % 4 + 1]
    elseif config < 16 then
        mode = "hybrid"
        bandwidth = config < 14 and "superwideband" or "fullband"
        duration = config % 2 == 0 and "10" or "20"
    else
        mode = "CELT"
        bandwidth = ({ "narrowband", "wideband", "superwideband", "fullband" })[math.floor((config - 16) / 4) + 1]
        duration = ({ "2.5", "5", "10", "20" })[config % 4 + 1]
    end
    local frames = ({ [0] = "1 frame", "2 frames", "2 frames", "frames" })[first % 4]
    local channels = math.floor(first / 4) % 2 == 1 and "stereo" or "mono"
    return ("%s %s %s, %s of %s ms"):format(mode, bandwidth, channels, frames, duration)
end

return common
