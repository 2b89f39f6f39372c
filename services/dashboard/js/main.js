// The frame: which page the address names, and how the connection fares.

import { show, toast } from "./dom.js";
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

async function route() {
    const [, page = "", ...rest] = location.hash.replace(/^#/, "").split("/");
    if (!page) return location.replace(jobs.size ? "#/jobs" : "#/new");
    const id = decodeURIComponent(rest.join("/"));
    const make = (id && ONE[page]) || VIEWS[page] || newView;
    open?.close?.();
    try {
        open = await make(id);
    } catch (error) {
        toast(error.message, "error");
        return location.replace("#/jobs");
    }
    document.title = open.title ? `${open.title} · Headway` : "Headway";
    show(main, open.node);
    for (const link of document.querySelectorAll("nav a")) {
        const here = link.hash === `#/${page}` || (page === "compare" && link.hash === "#/jobs");
        here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
}

const connection = document.getElementById("connection");
feed.addEventListener("connection", ({ detail }) => {
    connection.dataset.state = detail;
    connection.textContent = detail === "online" ? "live" : "connecting …";
});
addEventListener("unhandledrejection", (event) => {
    if (event.reason?.name === "AbortError") return;
    toast(event.reason?.message ?? String(event.reason), "error");
});
addEventListener("hashchange", route);

await loaded().catch((error) => toast(error.message, "error"));
start();
await route();
