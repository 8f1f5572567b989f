// What every page can do beyond HTML: suggestions while typing, and what the other scripts share.
"use strict"

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}
const dated = / \((\d{4})\)(?: \([A-Z]+\))?$/  // the year, and perhaps the format, '(V)' for a video
const year = title => (title.match(dated) || [])[1]
const moved = new RegExp(`^([^(]+), (${document.body.dataset.articles})(?= \\(|$)`, "i")
const said = title => title.replace(dated, "").replace(moved, (_, name, article) => article + (article.endsWith("'") ? "" : " ") + name)  // as people say it
const notice = text => make("p", { className: "note alert", role: "alert", textContent: text })

// --- suggestions: a combobox with a list, as the ARIA Authoring Practices describe it

function suggest(input) {
  const list = make("ul", { id: "suggestions", className: "suggestions", hidden: true })
  const status = make("p", { className: "unseen" })
  list.setAttribute("role", "listbox")
  list.setAttribute("aria-label", "Films")
  status.setAttribute("role", "status")
  input.parentElement.append(list, status)
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" }))
    input.setAttribute(name, value)

  let active = -1, asked = 0, timer
  const mark = place => {
    active = place
    ;[...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === active))
    if (active >= 0) {
      input.setAttribute("aria-activedescendant", list.children[active].id)
      list.children[active].scrollIntoView({ block: "nearest" })
    } else input.removeAttribute("aria-activedescendant")
  }
  const open = yes => {
    list.hidden = !yes
    input.setAttribute("aria-expanded", yes)
    if (!yes) mark(-1)
  }
  const go = option => { location.href = input.dataset.film + option.dataset.id }

  async function ask() {
    const text = input.value.trim(), mine = ++asked
    if (text.length < 2) { status.textContent = ""; return open(false) }
    try {
      const answer = await fetch(`${input.dataset.suggest}?k=8&q=${encodeURIComponent(text)}`)
      if (mine !== asked) return
      if (!answer.ok) throw new Error(answer.status)
      const { items } = await answer.json()
      if (mine !== asked || document.activeElement !== input) return
      list.replaceChildren(...items.map((movie, i) => {
        const when = year(movie.title), option = make("li", { id: `suggestion-${i}` })
        option.append(make("bdi", { textContent: said(movie.title) }))
        if (when) option.append(" ", make("span", { className: "year", textContent: when }))
        option.setAttribute("role", "option")
        option.dataset.id = movie.movie_id
        return option
      }))
      mark(-1)
      open(items.length > 0)
      status.textContent = items.length ? `${items.length} film${items.length > 1 ? "s" : ""}; arrow down to choose one` : "no film by this name"
    } catch { list.replaceChildren(); open(false) }  // the form still searches
  }

  const stop = () => { clearTimeout(timer); asked++ }
  input.addEventListener("input", () => { stop(); mark(-1); timer = setTimeout(ask, 120) })
  input.addEventListener("keydown", event => {
    const count = list.children.length
    if (event.key === "Escape") { stop(); if (!list.hidden) { event.preventDefault(); open(false) } }
    else if (["Home", "End", "ArrowLeft", "ArrowRight"].includes(event.key)) mark(-1)  // back in the text
    else if (event.key === "Enter" && active >= 0) { event.preventDefault(); go(list.children[active]) }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault()
      if (list.hidden) { if (count) open(true); else ask() }
      if (!list.hidden) mark(event.key === "ArrowDown" ? (active + 1) % count : (active < 1 ? count : active) - 1)
    }
  })
  list.addEventListener("pointerdown", event => event.preventDefault())  // the focus stays in the box
  list.addEventListener("click", event => { const option = event.target.closest("li"); if (option) go(option) })
  input.addEventListener("blur", () => { stop(); open(false) })
}

// --- begin

document.querySelectorAll("[data-host]").forEach(example => { example.textContent = example.textContent.replace(example.dataset.host, location.origin) })
document.querySelectorAll("[data-no-script]").forEach(note => note.remove())
document.querySelectorAll("[data-suggest]").forEach(suggest)
