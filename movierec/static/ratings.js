// What somebody says of films, in this browser and nowhere else: stars, and what is kept for later, put off or passed over.
"use strict"

const kept = {  // of each kind {"50": {title, year, stars}}, under "movierec.ratings" and so on
  memory: {},  // what the browser refuses to keep lasts as long as the page
  raw(kind) { try { return localStorage.getItem("movierec." + kind) } catch { return null } },
  parse(kind, text) {
    const fits = ([id, one]) => /^\d{1,18}$/.test(id) && one && typeof one.title === "string" && (kind !== "ratings" || one.stars >= 0.5 && one.stars <= 5)
    try { return Object.entries(JSON.parse(text) || {}).filter(fits) } catch { return [] }
  },
  read(kind) { return { ...this.memory[kind] || Object.fromEntries(this.parse(kind, this.raw(kind))) } },
  foreign(kind, text) {  // whether another version may have written it
    try { return Object.keys(JSON.parse(text)).length > this.parse(kind, text).length } catch { return true }
  },
  write(changes) {  // {kind: all}
    for (const [kind, all] of Object.entries(changes)) {
      const name = "movierec." + kind, old = this.raw(kind)
      try {
        if (old !== null && this.foreign(kind, old)) localStorage.setItem(name + ".old", old)
        localStorage.setItem(name, JSON.stringify(all))
        delete this.memory[kind]
      } catch { this.memory[kind] = all }
    }
    document.dispatchEvent(new CustomEvent("kept", { detail: Object.keys(changes).join() }))
  },
  put(kind, id, one) {  // a film is in one of these at most; without `one`, in none
    const kinds = ["ratings", "later", "out"], changes = {}
    for (const each of kinds) {
      const all = this.read(each)
      if (each !== kind && !(id in all)) continue
      delete all[id]
      if (each === kind && one) all[id] = one
      changes[each] = all
    }
    this.write(changes)
  },
  get lost() { return Object.keys(this.memory).length > 0 },
}

const filmOf = element => ({ title: element.dataset.title, ...(element.dataset.year && { year: +element.dataset.year }) })

function showStars(field) {
  const given = kept.read("ratings")[field.dataset.rate], stars = given ? given.stars : 0
  field.querySelectorAll("input").forEach(input => { input.checked = +input.value === Math.ceil(stars) })
  field.toggleAttribute("data-half", stars % 1 > 0)
  field.querySelector("legend").textContent = `Your rating of ${field.dataset.title}${stars % 1 ? `: ${stars} of 5 stars` : ""}`
  field.querySelector("button").hidden = !given
  field.hidden = false
}

function showAll() {
  const n = Object.keys(kept.read("ratings")).length
  document.querySelectorAll("[data-count]").forEach(count => { count.textContent = n ? ` (${n})` : "" })
  document.querySelectorAll("[data-rate]").forEach(showStars)
}

function say(given) {
  const place = document.querySelector(".did"), n = Object.keys(kept.read("ratings")).length
  if (!place) return
  const page = document.querySelector(".pages a:has([data-count])"), link = make("a", { href: page.href, textContent: "For you" })
  if (kept.lost) place.textContent = "This browser keeps nothing for this site: what you say lasts until you leave the page."
  else place.replaceChildren(given ? "Kept. " : "Taken back. ", page.pathname === location.pathname ? "Your list" : link, ` now knows ${n} of your ratings.`)
}

document.addEventListener("click", event => {
  const field = event.target.closest("[data-rate]"), { rate: id } = field ? field.dataset : {}
  if (!field || !event.target.matches("input, button")) return
  const stars = +event.target.value, given = kept.read("ratings")[id]
  if (stars && given && given.stars === stars) return
  kept.put("ratings", id, stars ? { ...filmOf(field), stars } : undefined)
  if (!stars) field.querySelector("input").focus({ preventScroll: true })
  say(stars)
})
document.addEventListener("kept", showAll)
window.addEventListener("storage", event => { if (event.key === null || event.key.startsWith("movierec.")) document.dispatchEvent(new Event("kept")) })
showAll()
