// Curves over steps, drawn by uPlot: as many as there are trials, redrawn once a frame at most.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { eachFrame, h } from "./dom.js";
import { number } from "./words.js";

const HEIGHT = 240;
const HUES = [222, 28, 145, 340, 265, 190, 50, 0];

export const colour = (i) => `hsl(${HUES[i % HUES.length]} 70% ${dark() ? 65 : 45}%)`;
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// `lines()` gives what to draw: [{label, step, value, colour, width?, dash?}].
export class Chart {
    constructor(title, lines, { range, value = (v) => number(v) } = {}) {
        this.lines = lines;
        this.options = { range, value };
        this.place = h("div.plot", { role: "img", "aria-label": title });
        this.place.chart = this; // to be looked at from a console
        this.node = h("figure.chart", h("figcaption", title), this.place);
        this.paint = eachFrame(() => this.draw());
        this.resized = new ResizeObserver(this.paint);
        this.resized.observe(this.place);
        this.themed = matchMedia("(prefers-color-scheme: dark)");
        this.rebuild = () => {
            this.shape = null;
            this.paint();
        };
        this.themed.addEventListener("change", this.rebuild);
    }

    close() {
        this.resized.disconnect();
        this.themed.removeEventListener("change", this.rebuild);
        this.plot?.destroy();
    }

    draw() {
        const width = this.place.clientWidth;
        if (!width) return;
        const lines = this.lines().filter((line) => line.step.length);
        const shape = JSON.stringify(lines.map(({ label, colour, width, dash }) => [label, colour, width, dash]));
        const data = joined(lines);
        if (this.plot && shape === this.shape) {
            if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
            this.plot.setData(data);
            return;
        }
        this.shape = shape;
        this.plot?.destroy();
        this.plot = lines.length ? new uPlot(this.look(lines, width), data, this.place) : null;
    }

    look(lines, width) {
        const axis = {
            stroke: ink("--quiet"),
            grid: { stroke: ink("--line"), width: 1 },
            ticks: { stroke: ink("--line"), width: 1 },
        };
        const { range, value } = this.options;
        return {
            width,
            height: HEIGHT,
            legend: { show: lines.length <= 8 },
            cursor: { points: { size: 6 }, drag: { x: true, y: false } },
            scales: { x: { time: false }, y: range ? { range } : {} },
            axes: [axis, { ...axis, size: 56, values: (_, ticks) => ticks.map(value) }],
            series: [
                { label: "step" },
                ...lines.map((line) => ({
                    label: line.label,
                    stroke: line.colour,
                    width: line.width ?? 1.6,
                    dash: line.dash,
                    spanGaps: true,
                    points: { show: line.step.length < 2, size: 5 },
                    value: (_, v) => (v === null || v === undefined ? "–" : value(v)),
                })),
            ],
        };
    }
}

// uPlot's form: one ascending axis of steps, and each line's value there or null.
function joined(lines) {
    if (!lines.length) return [[]];
    const first = lines[0].step;
    if (
        lines.every(({ step }) => step.length === first.length && step.at(-1) === first.at(-1) && step[0] === first[0])
    ) {
        return [first, ...lines.map(({ value }) => value)];
    }
    return uPlot.join(lines.map(({ step, value }) => [step, value]));
}
