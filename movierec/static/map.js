// The map: dots on a canvas, in the colours of the legend.
"use strict"

async function drawMap(map) {
  const sheet = map.querySelector(".sheet"), canvas = map.querySelector("canvas"), pointed = map.querySelector(".pointed")
  const context = canvas.getContext("2d"), buttons = [...map.querySelectorAll(".legend button")]
  const here = map.dataset.film, [liked, alike] = [map.dataset.liked, map.dataset.alike].map(near => new Set(near.split(" ").filter(Boolean)))
  let films, box, view, colours, chosen = null, over = -1, waiting = false

  try {
    const answer = await fetch(map.dataset.map)
    if (!answer.ok) throw new Error(answer.status)
    films = await answer.json()
  } catch {
    map.prepend(notice("The map can’t be loaded just now."))
    return
  }
  sheet.hidden = map.querySelector(".legend").hidden = false
  const { x, y, movie_id: ids, title: titles, genres, genre_names: names } = films, n = ids.length
  box = { left: Math.min(...x) - 2, right: Math.max(...x) + 2, low: Math.min(...y) - 2, high: Math.max(...y) + 2 }
  const lit = ids.map(String).map(id => (id === here ? 2 : liked.has(id) || alike.has(id) ? 1 : 0)), self = ids.map(String).indexOf(here)
  const discs = new Map()  // by genres: the films that have just these
  genres.forEach((some, i) => discs.set(some.join(), [...(discs.get(some.join()) || []), i]))
  const large = [...discs.values()].filter(disc => disc.length > n / 80 && genres[disc[0]].length).sort((a, b) => b.length - a.length)
  const focus = lit.some(Boolean)

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
  function ring(i, radius, width, broken = false) {
    const [px, py] = place(i)
    context.lineWidth = width
    context.strokeStyle = colours.ink
    context.setLineDash(broken ? [3, 3] : [])
    context.beginPath()
    context.arc(px, py, radius, 0, 2 * Math.PI)
    context.stroke()
    context.setLineDash([])
  }
  const label = (i, taken) => { const [px, py] = place(i); write(said(titles[i]), px, py - 26, taken) }
  function write(text, px, top, taken) {
    context.font = `600 13px ${getComputedStyle(document.body).fontFamily}`
    const width = context.measureText(text).width, left = Math.min(Math.max(px - width / 2, 6), canvas.clientWidth - width - 6)
    const py = top + 26
    if (top < 0 || px < 0 || px > canvas.clientWidth || py > canvas.clientHeight) return
    if (taken.some(([a, b, w]) => left < a + w && a < left + width && Math.abs(top - b) < 17)) return
    taken.push([left, top, width])
    context.lineJoin = "round"
    context.lineWidth = 4
    context.strokeStyle = colours.paper
    context.strokeText(text, left, top + 14)
    context.fillStyle = colours.ink
    context.fillText(text, left, top + 14)
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
      const id = String(ids[i]), around = Math.max(radius, 4) + 1 + lit[i]
      if (lit[i] > 1 || liked.has(id)) ring(i, around, lit[i] > 1 ? 2 : 1.5)
      if (lit[i] === 1 && alike.has(id)) ring(i, around + (liked.has(id) ? 3 : 0), 1.5, true)
    }
    if (over >= 0) ring(over, Math.max(radius, 4) + 3, 2)
    const order = [...Array(n).keys()].filter(i => lit[i]).sort((a, b) => lit[b] - lit[a])
    order.forEach(i => label(i, taken))
    if (!focus && chosen === null && view.scale < 12) for (const disc of large) {  // what they are, before any is pointed at
      const middle = of => disc.reduce((sum, i) => sum + of[i], 0) / disc.length
      write(genres[disc[0]].map(genre => names[genre]).join(", "), view.x + view.scale * middle(x), view.y - view.scale * middle(y) - 9, taken)
    }
    if (view.scale > 22) for (let i = 0; i < n; i++) if (bright(i) && !lit[i]) label(i, taken)
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
    pointed.textContent = i < 0 ? "" : `${said(titles[i])} ${year(titles[i]) || ""} · ${genres[i].map(g => names[g]).join(", ") || "no genre"}`
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
    const step = 60, keys = { ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => { all(); draw() } }
    if (event.ctrlKey || event.metaKey) return
    if (event.key === "Enter" && over >= 0) openPage(over)
    else if (keys[event.key]) { event.preventDefault(); keys[event.key](); middle() }
  })
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) { self < 0 ? middle() : point(self) } })
  map.querySelector('[data-zoom="in"]').addEventListener("click", () => zoom(1.6))
  map.querySelector('[data-zoom="out"]').addEventListener("click", () => zoom(1 / 1.6))
  map.querySelector('[data-zoom="all"]').addEventListener("click", () => { all(); draw() })
  buttons.forEach(button => button.addEventListener("click", () => {
    const genre = names.indexOf(button.dataset.genre)
    chosen = chosen === genre ? null : genre
    buttons.forEach(other => other.setAttribute("aria-pressed", names.indexOf(other.dataset.genre) === chosen))
    const many = genres.filter(some => some.includes(chosen)).length
    over = -1
    pointed.textContent = chosen === null ? "" : `${button.dataset.genre}: ${many} film${many === 1 ? "" : "s"}`
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
