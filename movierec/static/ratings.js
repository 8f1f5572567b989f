// What somebody rated, {"50": {title, stars}}, in this browser and nowhere else, and the list that follows from it.
"use strict"

const ratings = {
  name: "movierec.ratings",
  read() {
    try {
      const entries = Object.entries(JSON.parse(localStorage.getItem(this.name)) || {})
      return Object.fromEntries(entries.filter(([id, one]) => /^\d{1,18}$/.test(id) && one && one.stars >= 1 && one.stars <= 5 && typeof one.title === "string"))
    } catch { return {} }
  },
  set(id, title, stars) {
    const all = this.read()
    if (stars) all[id] = { title, stars }
    else delete all[id]
    this.write(all)
  },
  write(all) {
    try { localStorage.setItem(this.name, JSON.stringify(all)) } catch {
      if (!document.querySelector("[data-forgetful]")) {
        const note = notice("This browser keeps nothing for this site, so your rating is lost. Its settings may allow it.")
        note.dataset.forgetful = ""
        document.querySelector("main").prepend(note)
      }
    }
    document.dispatchEvent(new Event("ratings"))
  },
}

function rate(field) {
  const { rate: id, title } = field.dataset, clear = field.querySelector("button")
  const show = () => {
    const given = ratings.read()[id]
    field.querySelectorAll("input").forEach(input => { input.checked = !!given && +input.value === given.stars })
    clear.hidden = !given
  }
  field.hidden = false
  field.addEventListener("change", event => ratings.set(id, title, +event.target.value))
  clear.addEventListener("click", () => { ratings.set(id); field.querySelector("input").focus() })
  document.addEventListener("ratings", show)
  show()
}

function forYou(page) {
  const [mine, rated, variety, status, list] = [".mine", ".rated", ".variety", "[role=status]", ".list"].map(name => page.querySelector(name))
  const diversity = variety.querySelector("input")
  let asked = 0, timer

  function show(all) {
    const entries = Object.entries(all)
    mine.hidden = !entries.length
    rated.replaceChildren(...entries.map(([id, { title, stars }]) => {
      const given = make("span", { className: "given" }, make("span", { className: "unseen", textContent: `${stars} of 5 stars` }), make("span", { textContent: "★".repeat(stars) }))
      given.lastChild.setAttribute("aria-hidden", "true")
      const remove = make("button", { type: "button", className: "quiet", textContent: "×" })
      remove.setAttribute("aria-label", `Remove ${title}`)
      remove.addEventListener("click", () => { ratings.set(id); page.querySelector("h1").focus() })
      return make("li", {}, make("a", { href: page.dataset.film + id }, make("bdi", { textContent: title })), given, remove)
    }))
  }

  async function ask() {
    const all = ratings.read(), mineNow = ++asked
    variety.hidden = !Object.keys(all).length
    if (variety.hidden) { status.textContent = ""; return list.replaceChildren() }
    const body = { ratings: Object.fromEntries(Object.entries(all).slice(-2000).map(([id, one]) => [id, one.stars])), k: 12, diversity: +diversity.value }
    try {
      const answer = await fetch(page.dataset.forYou, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })
      if (mineNow !== asked) return
      if (!answer.ok) throw new Error(answer.status)
      const html = await answer.text()
      if (mineNow !== asked) return
      list.innerHTML = html
      status.textContent = `Your list has ${list.querySelectorAll("li").length} films`
    } catch {
      list.replaceChildren(notice("The list can’t be had just now. Your ratings are safe; try again in a moment."))
    }
  }

  page.querySelector("h1").tabIndex = -1
  page.querySelector("[data-forget]").addEventListener("click", () => { ratings.write({}); page.querySelector("h1").focus() })
  variety.addEventListener("submit", event => event.preventDefault())
  const soon = () => { show(ratings.read()); clearTimeout(timer); timer = setTimeout(ask, 200) }  // arrow keys pass over stars
  diversity.addEventListener("change", ask)
  document.addEventListener("ratings", soon)
  window.addEventListener("storage", event => { if (event.key === ratings.name) document.dispatchEvent(new Event("ratings")) })
  show(ratings.read())
  ask()
}

document.querySelectorAll("[data-rate]").forEach(rate)
document.querySelectorAll("[data-for-you]").forEach(forYou)
