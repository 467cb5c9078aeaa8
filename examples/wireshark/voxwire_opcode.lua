-- opcode over TCP, see proto-opcode/PROTOCOL.md.

local here = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or ""
package.path = here .. "?.lua;" .. package.path
local common = require("voxwire_common")

-- CLIENT_LIMITS: a longer packet is no packet.
local MAX_LENGTH = 1024 * 1024
-- Of a list, so many names are shown.
local MAX_SHOWN = 1000

local OPCODES = {
    "HelloConnect", "Login", "LoginSuccess", "LoginFailed", "AddContact", "CallRequest", "VoiceData", "ErrorResponse",
    "CallRefused", "DelContact", "ConnectionEstablished",
}

local p = common.protocol("opcode", "opcode", {
    { "length", "length", "u64" },
    { "opcode", "opcode", "u16", base.HEX, OPCODES },
    { "count", "count of bytes", "u64" },
    { "contact_count", "count of contacts", "u64" },
    { "name", "name", "text" },
    { "reason", "reason", "text" },
    { "what", "what", "text" },
    { "contact", "contact", "text" },
    { "contacts", "contacts", "text" },
    { "host", "host", "text" },
    { "port", "port", "u16" },
    { "data", "data", "bytes" },
    { "opus", "Opus", "text" },
})

-- Looks at a u64 count of bytes. Errors of `field` are at the count.
local function length(r, field)
    r:need(field, 8)
    local n = r:peek(8)
    if n > r:left() - 8 then
        r:fail(field, ("%.0f more bytes expected before the end of the frame"):format(n - (r:left() - 8)))
    end
    return n
end

local function count(r, field)
    local n = length(r, field)
    r:number("count", 8)
    return n
end

local function text(r, key)
    return common.name((r:text(key, count(r, key))))
end

local function contacts(r)
    r:need("contacts", 8)
    local n = r:peek(8)
    r:number("contact_count", 8)
    if n * 8 > r:left() then
        r:fail("contacts", ("%.0f more bytes expected before the end of the frame"):format(n * 8 - r:left()))
    end
    local shown = {}
    for i = 1, n do
        if i <= MAX_SHOWN then
            local name = r:text("contacts", count(r, "string"))
            shown[i] = i <= 5 and common.name(name) or nil
        else
            local len = length(r, "string")
            r.at = r.at + 8 + len
        end
    end
    if n > MAX_SHOWN then r.tree:add(r.tvb(r.at, 0), ("... and %d more"):format(n - MAX_SHOWN)) end
    if n == 0 then return "none" end
    local names = table.concat(shown, ", ")
    return n > 5 and ("%s and %d more"):format(names, n - 5) or names
end

local function decode(r)
    local length, item = r:number("length", 8)
    if length < 2 then
        common.fail("length", 0, ("%.0f found, expected at least 2, for the opcode"):format(length))
    elseif length > MAX_LENGTH then
        common.fail("length", 0, ("%.0f announced, at most %d allowed"):format(length, MAX_LENGTH))
    end
    local opcode = r:number("opcode", 2)
    local name = OPCODES[opcode]
    if not name then common.fail("opcode", 8, ("unknown tag %d, expected an opcode from 1 to 11"):format(opcode)) end
    r.name = name
    local info = name
    if name == "Login" then
        info = "Login as " .. text(r, "name")
    elseif name == "LoginFailed" then
        info = "LoginFailed: " .. text(r, "reason")
    elseif name == "ErrorResponse" then
        info = "ErrorResponse: " .. text(r, "what")
    elseif name == "CallRefused" then
        info = "CallRefused " .. text(r, "contact")
    elseif name == "AddContact" or name == "DelContact" then
        info = name .. " " .. contacts(r)
    elseif name == "CallRequest" then
        local contact, host = text(r, "contact"), text(r, "host")
        local port = r:number("port", 2)
        info = host == '""' and ("CallRequest for %s, port %d"):format(contact, port)
            or ("CallRequest %s at %s:%d"):format(contact, host, port)
    elseif name == "VoiceData" then
        local n = count(r, "data")
        r:bytes("data", n)
        info = "VoiceData, " .. common.plural(n, "byte")
        if n > 0 then
            local opus = common.opus(r.tvb(r.at - n, 1):uint())
            r:derived("opus", opus, n)
            info = info .. ", Opus " .. opus
        end
    end
    if r:left() > 0 then r:note(item, "Bytes behind the last field are ignored") end
    return name, info
end

-- The length with itself; nil for none that a packet has.
local function packet_length(tvb, offset)
    local length = tvb(offset + 4, 4):le_uint() * 4294967296.0 + tvb(offset, 4):le_uint()
    if length < 2 or length > MAX_LENGTH then return nil end
    return length + 8
end

function p.proto.dissector(tvb, pinfo, tree)
    local function cut(_, offset)
        if tvb:len() - offset < 8 then return nil end
        -- Where the next packet begins, nothing says then.
        return packet_length(tvb, offset) or tvb:len() - offset
    end
    return common.stream(tvb, pinfo, cut, function(offset, stop)
        common.message(p, tvb, offset, stop, pinfo, tree, decode, true)
    end)
end

-- Calls go from client to client, on any port.
p.proto:register_heuristic("tcp", function(tvb, pinfo, tree)
    if tvb:len() < 10 then return false end
    local length, opcode = packet_length(tvb, 0), tvb(8, 2):le_uint()
    if not length or not OPCODES[opcode] then return false end
    if opcode == 1 or opcode == 3 or opcode == 11 then
        if length ~= 10 then return false end
    else
        -- A string, a list or data: its count fits.
        if length < 18 or tvb:len() < 18 then return false end
        if tvb(14, 4):le_uint() > 0 or tvb(10, 4):le_uint() > length - 18 then return false end
    end
    pinfo.conversation = p.proto
    p.proto.dissector(tvb, pinfo, tree)
    return true
end)

common.ports(p, { tcp = "4241" })
