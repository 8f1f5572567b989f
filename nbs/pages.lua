-- A table with reasons is a list of films: on a phone it is set as one (styles.css).
function Table(table)
  for _, row in ipairs(table.head.rows) do
    for _, cell in ipairs(row.cells) do
      if pandoc.utils.stringify(cell.contents) == "why" then
        table.classes:insert("movies")
        return table
      end
    end
  end
end

-- What stands under a picture also says what is to be seen to whoever does not see it.
function Image(image)
  if not image.attributes["fig-alt"] then
    image.attributes["fig-alt"] = pandoc.utils.stringify(image.caption)
  end
  return image
end
