-- A pandoc reader for the pieces of a notebook: a JSON list of {kind, label, format, text}.
-- Every piece is parsed by itself, so that an unclosed fence or tag ends with its cell, and becomes one Div.
-- HTML is read for its content: no script, style, event handler or box of a notebook reaches the report.

local function bare(element)
  element.attributes = { width = element.attributes.width }
  return element
end

local function unwrapped(element)
  return element.content
end

local plain = {
  Div = unwrapped, Span = unwrapped,
  Link = bare, Image = bare, Header = bare, Code = bare, CodeBlock = bare, Figure = bare,
}

local function read(text, format)
  return pandoc.read(text, format).blocks
end

local from_html = {
  RawBlock = function(raw)
    return raw.format == "html" and read(raw.text, "html") or {}
  end,
  RawInline = function(raw)
    if raw.format ~= "html" then return {} end
    if raw.text:match("^<br") then return pandoc.LineBreak() end
    return pandoc.utils.blocks_to_inlines(read(raw.text, "html"))
  end,
}

function Reader(input)
  local divs = pandoc.Blocks {}
  for _, piece in ipairs(pandoc.json.decode(tostring(input))) do
    local blocks
    if piece.format == "verbatim" or piece.format == "python" then
      blocks = { pandoc.CodeBlock(piece.text, { "", { piece.format, piece.kind == "code" and "cell" or "printed" } }) }
    else
      blocks = read(piece.text, piece.format):walk(from_html):walk(plain)
    end
    divs:insert(pandoc.Div(blocks, { piece.label, { piece.kind } }))
  end
  return pandoc.Pandoc(divs)
end
