// The map: dots on a canvas, in the colours of the legend.
"use strict"

async function drawMap(map) {
  const sheet = map.querySelector(".sheet"), canvas = map.querySelector("canvas"), pointed = map.querySelector(".pointed")
  const context = canvas.getContext("2d"), buttons = [...map.querySelectorAll(".legend button")], family = getComputedStyle(document.body).fontFamily
  const here = map.dataset.film, listed = name => new Set(map.dataset[name].split(" ").filter(Boolean))
  const liked = listed("liked"), alike = listed("alike")
  let films, box, view, colours, chosen = null, lighted = "", over = -1, waiting = false

  const show = yes => map.querySelectorAll(".sheet, .legend, .key").forEach(part => { part.hidden = !yes })
  show(true)  // at once, so that nothing moves when the films come
  try {
    const answer = await fetch(map.dataset.map)
    if (!answer.ok) throw new Error(answer.status)
    films = await answer.json()
  } catch {
    show(false)
    map.dataset.ready = 0
    map.prepend(notice("The map can’t be loaded just now."))
    return
  }
  const { x, y, movie_id: ids, title: titles, genres, genre_names: names } = films, n = ids.length
  box = { left: Math.min(...x) - 2, right: Math.max(...x) + 2, low: Math.min(...y) - 2, high: Math.max(...y) + 2 }
  const lit = ids.map(id => (String(id) === here ? 2 : liked.has(String(id)) || alike.has(String(id)) ? 1 : 0))
  const focus = lit.some(Boolean), discs = new Map()  // of films with the same genres
  genres.forEach((some, i) => discs.set(some.join(), [...(discs.get(some.join()) || []), i]))
  const named = [...discs.values()].filter(disc => disc.length > 4 && genres[disc[0]].length).sort((a, b) => b.length - a.length).map(disc => ({
    lines: genres[disc[0]].map(genre => names[genre]), count: disc.length, genres: genres[disc[0]],
    x: disc.reduce((sum, i) => sum + x[i], 0) / disc.length, y: disc.reduce((sum, i) => sum + y[i], 0) / disc.length }))

  const style = () => {
    const of = (element, name) => getComputedStyle(element)[name]
    const known = Object.fromEntries(buttons.map(button => [button.dataset.genre, of(button.querySelector("i"), "backgroundColor")]))
    colours = { genre: names.map(name => known[name]), ink: of(sheet, "color"), paper: of(sheet, "backgroundColor") }
  }
  const fit = (left, right, low, high) => {
    const scale = Math.min(canvas.clientWidth / (right - left), canvas.clientHeight / (high - low))
    view = { scale, x: canvas.clientWidth / 2 - scale * (left + right) / 2, y: canvas.clientHeight / 2 + scale * (low + high) / 2 }
  }
  const all = () => fit(box.left, box.right, box.low, box.high)
  const place = i => [view.x + view.scale * x[i], view.y - view.scale * y[i]]
  const zoom = (factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) => {
    const whole = Math.min(canvas.clientWidth / (box.right - box.left), canvas.clientHeight / (box.high - box.low))
    const scale = Math.min(Math.max(view.scale * factor, whole * 0.8), whole * 40), by = scale / view.scale
    view = { scale, x: px + (view.x - px) * by, y: py + (view.y - py) * by }
    draw()
  }
  const move = (dx, dy) => { view.x += dx; view.y += dy; draw() }
  const go = (dx, dy) => {  // to the nearest film in a direction
    if (over < 0) return middle()
    let best = -1, least = Infinity
    for (let i = 0; i < n; i++) {
      const along = (x[i] - x[over]) * dx + (y[i] - y[over]) * dy, aside = Math.abs((x[i] - x[over]) * dy - (y[i] - y[over]) * dx)
      if (along > 0.01 && aside <= along && along + 2 * aside < least) { best = i; least = along + 2 * aside }
    }
    if (best < 0) return
    point(best)
    const [px, py] = place(best), edge = 40
    if (px < edge || py < edge || px > canvas.clientWidth - edge || py > canvas.clientHeight - edge) move(canvas.clientWidth / 2 - px, canvas.clientHeight / 2 - py)
  }
  const middle = () => point(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity))
  const openPage = i => { location.href = map.dataset.page + ids[i] }
  const draw = () => { if (!waiting) { waiting = true; requestAnimationFrame(paint) } }

  function dot(i, radius) {
    const [px, py] = place(i), parts = genres[i].length ? genres[i] : [-1], step = 2 * Math.PI / parts.length
    parts.forEach((genre, part) => {
      context.fillStyle = colours.genre[genre] || "gray"
      context.beginPath()
      if (parts.length > 1) context.moveTo(px, py)
      context.arc(px, py, radius, part * step - Math.PI / 2, (part + 1) * step - Math.PI / 2)
      context.fill()
    })
  }
  function ring(i, radius, width, dashes = []) {
    const [px, py] = place(i)
    context.setLineDash(dashes)
    context.lineWidth = width
    context.strokeStyle = colours.ink
    context.beginPath()
    context.arc(px, py, radius, 0, 2 * Math.PI)
    context.stroke()
    context.setLineDash([])
  }
  function write(text, left, base, ground = 4) {
    context.lineJoin = "round"
    context.lineWidth = ground
    context.strokeStyle = colours.paper
    context.strokeText(text, left, base)
    context.fillStyle = colours.ink
    context.fillText(text, left, base)
  }
  function nameDisc(disc, taken) {
    const px = view.x + view.scale * disc.x, py = view.y - view.scale * disc.y, across = 1.3 * view.scale * Math.sqrt(disc.count)
    const size = Math.round(Math.min(18, 9 + across / 14)), step = size * 1.1, high = step * disc.lines.length
    context.font = `600 ${size}px ${family}`
    const widths = disc.lines.map(line => context.measureText(line).width), width = Math.max(...widths), left = px - width / 2, top = py - high / 2
    if (across < 34 || width > across * 2 || left < 0 || left + width > canvas.clientWidth || top < 0 || top + high > canvas.clientHeight) return
    if (taken.some(([a, b, w, h]) => left < a + w && a < left + width && top < b + h && b < top + high)) return
    taken.push([left, top, width, high])
    disc.lines.forEach((line, k) => write(line, px - widths[k] / 2, top + step * (k + 0.82), 5))
  }
  function label(i, taken) {
    const [px, py] = place(i), text = said(titles[i])
    context.font = `600 13px ${family}`
    const width = context.measureText(text).width, left = Math.min(Math.max(px - width / 2, 6), canvas.clientWidth - width - 6)
    const top = py - 26
    if (top < 0 || px < 0 || px > canvas.clientWidth || py > canvas.clientHeight) return
    if (taken.some(([a, b, w, h]) => left < a + w && a < left + width && top < b + h && b < top + 17)) return
    taken.push([left, top, width, 17])
    write(text, left, top + 14)
  }

  function paint() {
    waiting = false
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio)
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio)
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, width, height)
    const radius = Math.max(1.2, Math.min(view.scale * 0.42, 22)), taken = []
    const bright = i => (chosen === null ? !focus || lit[i] > 0 : genres[i].includes(chosen))
    for (const pass of [false, true]) {
      context.globalAlpha = pass ? 1 : 0.22
      for (let i = 0; i < n; i++) {
        const [px, py] = place(i)
        if (bright(i) === pass && px > -radius && py > -radius && px < width + radius && py < height + radius) dot(i, lit[i] ? Math.max(radius, 4) : radius)
      }
    }
    for (let i = 0; i < n; i++) {
      const around = Math.max(radius, 4) + 2
      if (lit[i] === 2) { ring(i, around, 3); ring(i, around + 5, 2) }
      else if (liked.has(String(ids[i]))) ring(i, around, 3)
      if (alike.has(String(ids[i]))) ring(i, around + 4, 1.5, [3, 3])
    }
    if (over >= 0) ring(over, Math.max(radius, 4) + 3, 2)
    const order = [...Array(n).keys()].filter(i => lit[i]).sort((a, b) => lit[b] - lit[a])
    order.forEach(i => label(i, taken))
    if (view.scale <= 22) named.forEach(disc => { if (chosen === null || disc.genres.includes(chosen)) nameDisc(disc, taken) })
    else for (let i = 0; i < n; i++) if (bright(i) && !lit[i]) label(i, taken)
  }

  function nearest(px, py, within = Math.max(view.scale * 0.6, 12)) {
    let best = -1, least = within ** 2
    for (let i = 0; i < n; i++) {
      const [a, b] = place(i), distance = (a - px) ** 2 + (b - py) ** 2
      if (distance < least) { best = i; least = distance }
    }
    return best
  }
  function point(i) {
    if (i === over) return
    over = i
    pointed.textContent = i < 0 ? lighted : `${said(titles[i])} ${year(titles[i]) || ""} · ${genres[i].map(g => names[g]).join(", ") || "no genre"}`
    draw()
  }

  const held = new Map()
  let moved = 0
  const at = event => { const edge = canvas.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top] }
  canvas.addEventListener("pointerdown", event => { if (event.button) return; canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, at(event)); if (held.size === 1) moved = 0 })
  canvas.addEventListener("pointermove", event => {
    const now = at(event), before = held.get(event.pointerId)
    if (!before) return point(nearest(...now))
    const other = [...held].find(([id]) => id !== event.pointerId)
    moved += Math.hypot(now[0] - before[0], now[1] - before[1])
    if (other) {
      const [ox, oy] = other[1], apart = ([a, b]) => Math.hypot(a - ox, b - oy) || 1
      zoom(apart(now) / apart(before), ox, oy)
    } else if (moved > 4) move(now[0] - before[0], now[1] - before[1])
    held.set(event.pointerId, now)
  })
  const release = event => {
    const was = held.delete(event.pointerId)
    if (!was || event.type === "pointercancel" || moved > 4 || held.size) return
    const i = nearest(...at(event))
    if (i >= 0 && (event.pointerType === "mouse" || i === over)) openPage(i)
    else point(i)  // a finger first sees the name; pressing again opens the page
  }
  canvas.addEventListener("pointerup", release)
  canvas.addEventListener("pointercancel", release)
  canvas.addEventListener("pointerleave", () => { if (!held.size) point(-1) })
  const within = map.matches(".within")  // a page, which the wheel scrolls unless the map has the focus
  canvas.addEventListener("wheel", event => { if (within && !event.ctrlKey && document.activeElement !== canvas) return; event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), ...at(event)) }, { passive: false })
  canvas.addEventListener("keydown", event => {
    const closer = by => over < 0 ? zoom(by) : zoom(by, ...place(over))
    const keys = { ArrowLeft: () => go(-1, 0), ArrowRight: () => go(1, 0), ArrowUp: () => go(0, 1), ArrowDown: () => go(0, -1), "+": () => closer(1.5), "=": () => closer(1.5), "-": () => closer(1 / 1.5), 0: () => { all(); draw() } }
    if (event.ctrlKey || event.metaKey) return
    if (event.key === "Enter" && over >= 0) openPage(over)
    else if (keys[event.key]) { event.preventDefault(); keys[event.key]() }
  })
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible") && over < 0) lit.includes(2) ? point(lit.indexOf(2)) : middle() })
  map.querySelector('[data-zoom="in"]').addEventListener("click", () => zoom(1.6))
  map.querySelector('[data-zoom="out"]').addEventListener("click", () => zoom(1 / 1.6))
  map.querySelector('[data-zoom="all"]').addEventListener("click", () => { all(); draw() })
  buttons.forEach(button => button.addEventListener("click", () => {
    const genre = names.indexOf(button.dataset.genre)
    chosen = chosen === genre ? null : genre
    buttons.forEach(other => other.setAttribute("aria-pressed", names.indexOf(other.dataset.genre) === chosen))
    const count = genres.filter(some => some.includes(chosen)).length
    lighted = chosen === null ? "" : `${names[chosen]}: ${count.toLocaleString("en")} film${count === 1 ? "" : "s"}`
    over = -1
    pointed.textContent = lighted || `All ${n.toLocaleString("en")} films`
    draw()
  }))
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { style(); draw() })
  let size = [0, 0]
  new ResizeObserver(() => {
    const now = [canvas.clientWidth, canvas.clientHeight]
    if (now[0] !== size[0] || now[1] !== size[1]) { size = now; start() }
  }).observe(canvas)

  function start() {
    all()
    if (focus) {
      const shown = [...Array(n).keys()].filter(i => lit[i]), margin = 6
      const xs = shown.map(i => x[i]), ys = shown.map(i => y[i])
      fit(Math.min(...xs) - margin, Math.max(...xs) + margin, Math.min(...ys) - margin, Math.max(...ys) + margin)
    }
    draw()
  }
  style()
  start()
  map.dataset.ready = n
}

document.querySelectorAll("[data-map]").forEach(drawMap)
