// For you: films to rate, the list that follows, and what is kept. Nothing that somebody points at moves or becomes something else.
"use strict"

function forYou(page) {
  const find = name => page.querySelector(name)
  const ask = find(".ask"), asked = find(".asked"), picks = find(".picks"), told = find(".told"), read = find(".read")
  const variety = find(".variety"), diversity = variety.querySelector("input")
  const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`
  const keys = (...kinds) => kinds.flatMap(kind => Object.keys(kept.read(kind)))

  async function post(address, body) {
    const answer = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(answer.status)
    return answer
  }

  // --- the films to rate

  let questions = 0
  const ids = root => [...root.querySelectorAll("[data-rate]")].map(field => field.dataset.rate)

  async function question() {
    asked.ariaBusy = true
    const mine = ++questions, { q, genre, years } = Object.fromEntries(new FormData(ask)), [from, to] = years.split("-")
    const body = { exclude: [...new Set([...keys("ratings", "later", "out", "asked"), ...ids(picks)])].slice(-5000) }
    if (q.trim()) body.q = q.trim()
    if (genre) body.genres = [genre]
    if (from) body.year_from = +from
    if (to) body.year_to = +to
    try {
      const html = await (await post(page.dataset.films, body)).text()
      if (mine !== questions) return
      asked.innerHTML = html
      if (!ids(asked).length && !q.trim() && keys("asked").length) {  // all have been asked: begin again
        kept.write({ asked: {} })
        return question()
      }
      showAll()
    } catch { if (mine === questions) find(".did").textContent = "No other films can be had just now; try again in a moment." }
    if (mine === questions) asked.ariaBusy = false
  }

  function pass() {  // those that stand there are not asked for again
    const films = kept.read("asked")
    for (const field of asked.querySelectorAll("[data-rate]")) films[field.dataset.rate] = filmOf(field)
    kept.write({ asked: films })
  }

  let typed
  ask.addEventListener("submit", event => {
    event.preventDefault()
    if (ask.q.value) ask.q.value = ""
    else pass()
    question()
  })
  ask.addEventListener("input", event => {
    clearTimeout(typed)
    typed = setTimeout(question, event.target === ask.q ? 250 : 0)
  })
  ask.q.addEventListener("keydown", event => { if (event.key === "Enter") { event.preventDefault(); question() } })

  // --- the list

  let lists = 0, timer, acted = null, pointing = false
  const done = li => keys("ratings", "later", "out").includes(li.dataset.film)

  function mark(li) {
    const why = li.querySelector(".why"), said = { ratings: "Rated", later: "Kept for later", out: "Put off" }
    const kind = Object.keys(said).find(kind => kept.read(kind)[li.dataset.film])
    li.dataset.why ||= why.textContent
    li.classList.toggle("done", !!kind)
    why.textContent = kind ? `${said[kind]}. Another film comes here next.` : li.dataset.why
    li.querySelectorAll("[data-put]").forEach(button => button.setAttribute("aria-pressed", button.dataset.put === kind))
  }

  function follow(fresh) {  // a film that was acted on stays until another one is; the rest of the list stays with it
    if (!acted) { picks.replaceChildren(...fresh.children); showAll(); return films().forEach(mark) }
    const shown = new Set(films().map(li => li.dataset.film))
    const next = [...fresh.querySelectorAll("[data-film]")].filter(li => !shown.has(li.dataset.film))
    films().filter(li => li !== acted && done(li)).forEach(li => { if (next.length) li.replaceWith(next.shift()) })
    showAll()
    films().forEach(mark)
  }
  const films = () => [...picks.querySelectorAll("[data-film]")]

  const most = 2000  // films that a question may name; of more, the last ones
  function body() {
    const rated = Object.entries(kept.read("ratings")).slice(-most), left = most - rated.length
    return {
      ratings: Object.fromEntries(rated.map(([id, one]) => [id, one.stars])),
      exclude: left ? keys("later", "out").slice(-left) : [], k: +page.dataset.perList, diversity: +diversity.value,
    }
  }

  async function list() {
    picks.ariaBusy = true
    const mine = ++lists, sent = body(), n = Object.keys(sent.ratings).length
    if (!n) sent.exclude = [...new Set([...sent.exclude, ...ids(asked)])].slice(-most)
    try {
      const fresh = make("ol", { innerHTML: await (await post(page.dataset.forYou, sent)).text() }), unknown = fresh.querySelector("[data-unknown]")
      if (mine !== lists) return
      picks.ariaBusy = false
      if (!acted && pointing) await new Promise(left => picks.addEventListener("pointerleave", left, { once: true }))
      if (mine !== lists) return
      follow(fresh)
      find("#list").textContent = n ? "Your list" : "What most people like"
      told.textContent = n ? `${plural(films().length, "film")}, from ${plural(n, "rating")}.` : ""
      if (unknown) told.textContent += ` ${plural(+unknown.dataset.unknown, "rating")} of films that this catalogue does not have.`
    } catch {
      picks.ariaBusy = false
      told.textContent = "The list can’t be had just now. Your ratings are safe; try again in a moment."
    }
  }

  page.addEventListener("click", event => {  // before it takes effect
    acted = event.target.closest(".picks > li")
  }, true)
  picks.addEventListener("pointermove", ({ movementX, movementY }) => { if (movementX || movementY) pointing = true })
  picks.addEventListener("pointerleave", () => { pointing = false })
  document.addEventListener("keydown", () => { pointing = false })
  picks.addEventListener("click", event => {
    const button = event.target.closest("[data-put]"), li = button && button.closest("li")
    if (li) kept.put(button.dataset.put, li.dataset.film, button.getAttribute("aria-pressed") === "true" ? undefined : filmOf(li))
  })
  picks.addEventListener("toggle", async ({ target: sum }) => {
    const place = sum.lastElementChild
    if (!sum.open) return
    try { place.innerHTML = await (await post(page.dataset.why + sum.closest("li").dataset.film, body())).text() }
    catch { place.textContent = "The sum can’t be had just now; try again in a moment." }
  }, true)
  picks.addEventListener("keydown", event => {
    const open = picks.querySelector("details[open]")
    if (event.key === "Escape" && open) { open.open = false; open.firstElementChild.focus() }
  })
  variety.addEventListener("submit", event => event.preventDefault())
  diversity.addEventListener("change", () => { acted = null; list() })

  // --- what is kept: a row that was taken away stays, and can be brought back

  function row(kind, id, one) {
    const li = make("li", {}, make("a", { href: page.dataset.film + id }, make("bdi", { textContent: one.title })))
    const given = make("span", { className: "given" }), button = make("button", { type: "button", className: "quiet" })
    li.append(given, button)
    li.dataset.id = id
    button.addEventListener("click", () => { acted = null; kept.put(kind, id, li.classList.contains("gone") ? li.one : undefined) })
    return li
  }

  function rows(list) {
    const { kind } = list.dataset, all = kept.read(kind), there = new Map([...list.children].map(li => [li.dataset.id, li]))
    for (const [id, one] of Object.entries(all))
      if (!there.has(id)) { const li = row(kind, id, one); there.set(id, li); list.append(li) }
    for (const [id, li] of there) {
      li.classList.toggle("gone", !all[id])
      if (all[id]) li.one = all[id]
      const { title, stars } = li.one, [given, button] = [li.children[1], li.lastChild]
      if (stars) {
        given.replaceChildren(make("span", { className: "unseen", textContent: `${stars} of 5 stars` }), make("span", { textContent: "★".repeat(stars) + (stars % 1 ? "½" : "") }))
        given.lastChild.setAttribute("aria-hidden", "true")
      }
      button.textContent = all[id] ? "×" : "↺"
      button.setAttribute("aria-label", `${all[id] ? "Remove" : "Bring back"} ${title}`)
    }
  }

  // --- files: Name, Year, Rating as Letterboxd has them, with our id and what was said

  const cell = text => `"${String(text ?? "").replaceAll('"', '""')}"`
  const readCsv = text => {
    const table = [[]]
    for (const [, cell, end] of text.replace(/^\uFEFF/, "").matchAll(/("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|\r|$)/g)) {
      table.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell)
      if (end !== ",") table.push([])
    }
    return table.filter(line => line.length > 1)
  }

  find("[data-export]").addEventListener("click", () => {
    const lines = ["ratings", "later", "out"].flatMap(kind => Object.entries(kept.read(kind)).map(([id, one]) => [one.title, one.year, one.stars, id, kind]))
    const text = [["Name", "Year", "Rating", "Id", "Kind"], ...lines].map(line => line.map(cell).join(",")).join("\r\n")
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: "films.csv" })
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href))
  })

  function entries(text) {  // {name, title, year, stars, id, kind}
    const [head = [], ...lines] = readCsv(text), at = Object.fromEntries(head.map((name, i) => [name.trim().toLowerCase(), i]))
    const [title, stars] = [at.name ?? at.title, at["your rating"] ?? at.rating]
    if (title === undefined || stars === undefined) throw new Error("no such columns")
    return lines.map(line => {
      const year = +line[at.year] || undefined, given = +line[stars] / (at["your rating"] === undefined ? 1 : 2)
      const kind = at.kind === undefined ? "ratings" : line[at.kind]
      return { name: line[title] + (year ? ` (${year})` : ""), title: line[title], year, stars: given, id: line[at.id], kind }
    }).filter(one => one.title && (one.kind === "ratings" ? one.stars >= 0.5 && one.stars <= 5 : ["later", "out"].includes(one.kind)))
  }

  async function match(found) {  // in parts
    const named = found.filter(one => !/^\d+$/.test(one.id))
    for (let i = 0; i < named.length; i += 200) {
      read.textContent = `${plural(found.length, "film")}; looking them up …`
      const part = named.slice(i, i + 200), { items } = await (await post(page.dataset.matches, { names: part.map(one => one.name.slice(0, 200)) })).json()
      items.forEach(({ movie, candidates }, j) => Object.assign(part[j], movie ? { id: movie.movie_id, title: said(movie.title), year: movie.year || undefined } : { candidates }))
    }
  }

  async function take(file) {
    let found
    try { found = entries(await file.text()) } catch { return read.replaceChildren("This file can’t be read: it has no columns Name (or Title) and Rating. Nothing was changed.") }
    try { await match(found) } catch { return read.replaceChildren("The films can’t be looked up just now. Nothing was changed; try again in a moment.") }
    const all = { ratings: kept.read("ratings"), later: kept.read("later"), out: kept.read("out") }, known = found.filter(one => one.id)
    for (const { id, title, year, stars, kind } of known) {
      for (const each of Object.values(all)) delete each[id]
      all[kind][id] = { title, year, ...(kind === "ratings" && { stars }) }
    }
    acted = null
    if (known.length) kept.write(all)
    const missed = found.filter(one => !one.id)
    read.replaceChildren(make("p", { textContent: `${known.length} of ${plural(found.length, "film")} found and kept.` }))
    if (missed.length) read.append(make("p", { textContent: "Not found:" }), make("ul", {}, ...missed.map(({ name, candidates }) =>
      make("li", { textContent: name + (candidates && candidates.length ? `: which, ${candidates.map(film => `${said(film.title)} ${film.year ?? ""}`.trim()).join(" or ")}?` : "") }))))
  }

  find("[type=file]").addEventListener("change", event => { if (event.target.files[0]) take(event.target.files[0]); event.target.value = "" })

  let forgotten = null
  find("[data-forget]").addEventListener("click", event => {
    const kinds = ["ratings", "later", "out", "asked"], all = forgotten || Object.fromEntries(kinds.map(kind => [kind, {}]))
    forgotten = forgotten ? null : Object.fromEntries(kinds.map(kind => [kind, kept.read(kind)]))
    event.target.textContent = forgotten ? "Bring it all back" : "Forget it all"
    acted = null
    kept.write(all)
  })

  // --- begin

  const show = () => { page.querySelectorAll("[data-kind]").forEach(rows); films().forEach(mark) }
  document.addEventListener("kept", ({ detail }) => {
    show()
    if (detail === "asked") return
    picks.ariaBusy = true
    clearTimeout(timer)
    timer = setTimeout(list, 200)  // arrow keys pass over stars
  })
  show()
  if (keys("ratings", "later", "out", "asked").length) list().then(question)
}

document.querySelectorAll("[data-for-you]").forEach(forYou)
