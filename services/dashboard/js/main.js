// The frame: which page the address names, and how the connection fares.

import { Problem } from "./api.js";
import { h, show, toast } from "./dom.js";
import { feed, start } from "./feed.js";
import { loaded, jobs } from "./jobs.js";
import { compareView } from "./views/compare.js";
import { jobView } from "./views/job.js";
import { jobsView } from "./views/jobs.js";
import { modelView } from "./views/model.js";
import { modelsView } from "./views/models.js";
import { newView } from "./views/new.js";
import { workersView } from "./views/workers.js";

const main = document.getElementById("main");
const VIEWS = { new: newView, jobs: jobsView, compare: compareView, models: modelsView, workers: workersView };
const ONE = { jobs: jobView, models: modelView };
let open = null; // the view that is shown: {node, close()}
let asked = 0; // how often an address was followed; only the last one counts
let waits = false; // for the service, to show what the address names

async function route() {
    const mine = ++asked;
    const [, page = "", ...rest] = location.hash.replace(/^#/, "").split("/");
    if (!page) return location.replace(jobs.size ? "#/jobs" : "#/new");
    const id = decodeURIComponent(rest.join("/"));
    open?.close?.();
    open = null;
    const view = await made((id && ONE[page]) || VIEWS[page] || newView, id);
    if (mine !== asked) return view.close?.();
    open = view;
    document.title = view.title ? `${view.title} · Headway` : "Headway";
    show(main, view.node);
    mark(page);
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
}

async function made(make, id) {
    waits = false;
    try {
        return await make(id);
    } catch (error) {
        waits = error instanceof TypeError && /fetch|network|load failed/i.test(error.message); // as browsers word it
        if (!waits && !(error instanceof Problem)) console.error(error);
        const says = waits ? "The service is away; this page comes with it." : error.message;
        return { node: h("section.card", h("h1", says), h("p", h("a", { href: "#/jobs" }, "All jobs"))) };
    }
}

function mark(page) {
    for (const link of document.querySelectorAll("nav a")) {
        const here = link.hash === `#/${page}` || (page === "compare" && link.hash === "#/jobs");
        if (here) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
}

const connection = document.getElementById("connection");
feed.addEventListener("connection", ({ detail }) => {
    connection.dataset.state = detail;
    connection.textContent = detail === "online" ? "live" : "connecting …";
    if (detail === "online" && waits) route();
});
addEventListener("unhandledrejection", (event) => {
    if (event.reason?.name === "AbortError") return;
    toast(event.reason?.message ?? String(event.reason), "error");
});
addEventListener("hashchange", route);
for (const missed of ["dragover", "drop"]) addEventListener(missed, (event) => event.preventDefault()); // or a browser leaves

await loaded().catch((error) => toast(error.message, "error"));
start();
await route();
