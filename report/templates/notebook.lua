-- A pandoc reader for the pieces of a notebook: a JSON list of {kind, label, format, text}.
-- Every piece is parsed by itself, so that an unclosed fence or tag ends with its cell, and becomes one Div.
-- Raw HTML is read for its content: no tag, style or script of a notebook reaches the report.

local function content(html)
  return pandoc.read(html, "html").blocks
end

local simple = {
  Div = function(div) return div.content end,
  Span = function(span) return span.content end,
  RawBlock = function(raw)
    return raw.format == "html" and content(raw.text) or {}
  end,
  RawInline = function(raw)
    if raw.format ~= "html" then return {} end
    if raw.text:match("^<br") then return pandoc.LineBreak() end
    return pandoc.utils.blocks_to_inlines(content(raw.text))
  end,
}

function Reader(input)
  local blocks = pandoc.Blocks {}
  for _, piece in ipairs(pandoc.json.decode(tostring(input))) do
    local body
    if piece.format == "verbatim" or piece.format == "python" then
      body = { pandoc.CodeBlock(piece.text, { "", { piece.format, piece.kind == "code" and "cell" or "printed" } }) }
    else
      body = pandoc.read(piece.text, piece.format).blocks:walk(simple)
    end
    blocks:insert(pandoc.Div(body, { piece.label, { piece.kind } }))
  end
  return pandoc.Pandoc(blocks)
end
