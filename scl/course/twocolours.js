// The two-colour world, to drag. One ES module for notebooks (through anywidget) and plain pages:
//
//   import twoColours from "./twocolours.js"       // what anywidget calls
//   import { standalone } from "./twocolours.js"   // a page: standalone(element)
//
// Data flows one way: a gesture changes the state {colours, vectors, firstCut}; look() computes
// all that follows from it, as twocolours.py does; the Stage only shows it.

const LAMP =
  "........" + "...ss..." + "..ssss.." + "..ssss.." +
  ".ssssss." + "...ff..." + "...ff..." + "..ffff..";
const SIDE = 8; // cells
const KINDS = { s: "shade", f: "foot", ".": "wallpaper" };
const SPREAD = 0.06; // how far a cell lies from the middle of its kind, at most
const MOST = 1.2; // what a middle can be dragged to
const GLIDE = 900; // milliseconds from one lamp to the other
export const TWO_COLOURS = { shade: [1, 0], foot: [0, 1], wallpaper: [0.5, 0.5] };
export const ONE_COLOUR = { ...TWO_COLOURS, foot: [1, 0] };
export const FIRST_CUT = 0.75;

// Of Okabe and Ito; marks and dashes tell without colour.
const RED = [213, 94, 0], BLUE = [0, 114, 178], GREEN = "#009E73", PURPLE = [204, 121, 167];
const INKS = { shade: "#D55E00", foot: "#0072B2", wallpaper: "#7F7F7F" };
const MARKS = {
  shade: "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0", foot: "M-3.4,3L3.4,3L0,-3.6Z",
  wallpaper: "M-2.6,-2.6H2.6V2.6H-2.6Z",
};
const DARK_TO_BRIGHT = [[0, 34, 78], [124, 123, 120], [254, 232, 56]]; // about cividis

// ------------------------------------------------------------------------------ arithmetic

/** The cells of the picture, row after row: {x: how red, y: how blue, kind}. */
export function cellsOf(colours) {
  return [...LAMP].map((letter, i) => {
    const [x, y] = colours[KINDS[letter]];
    return {
      x: x + SPREAD * Math.sin(12.9898 * (i + 1)), y: y + SPREAD * Math.sin(78.233 * (i + 1)),
      kind: KINDS[letter],
    };
  });
}

/** Eq. 1, 5 and 6: the average of some cells. */
export function average(cells) {
  const sum = (name) => cells.reduce((total, cell) => total + cell[name], 0);
  return { x: sum("x") / cells.length, y: sum("y") / cells.length };
}

export function cosine(a, b) {
  const length = (v) => Math.max(Math.hypot(v.x, v.y), 1e-8);
  return (a.x * b.x + a.y * b.y) / (length(a) * length(b));
}

/** The threshold on values whose upper side has the best IoU with a mask, and that IoU. */
export function bestCut(values, mask) {
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  const area = mask.filter(Boolean).length;
  let inside = 0, best = { threshold: 1, iou: 0 };
  order.forEach((at, place) => {
    inside += mask[at] ? 1 : 0;
    const next = place + 1 < order.length ? values[order[place + 1]] : values[at] - 1;
    const iou = inside / (place + 1 + area - inside);
    if (iou > best.iou && next < values[at]) best = { threshold: (values[at] + next) / 2, iou };
  });
  return best;
}

/** All that follows from where the colours lie, and from how many vectors guide. */
export function look({ colours, vectors, firstCut }) {
  const cells = cellsOf(colours), lamp = cells.filter((cell) => cell.kind !== "wallpaper");
  const v_s = average(lamp), isFound = (cell) => cosine(cell, v_s) > firstCut;
  const found = lamp.filter(isFound), lost = lamp.filter((cell) => !isFound(cell));
  const orInitial = (region) => (region.length ? average(region) : v_s);
  const arrows = vectors === 1 ? { v_s } : { v_pri: orInitial(found), v_aux: orInitial(lost) };
  const near = (cell) => Math.max(...Object.values(arrows).map((arrow) => cosine(cell, arrow)));
  const similarity = cells.map(near);
  const middles = Object.fromEntries(
    Object.entries(colours).map(([kind, [x, y]]) => [kind, near({ x, y })]),
  );
  const cut = bestCut(similarity, cells.map((cell) => cell.kind !== "wallpaper"));
  return {
    cells, arrows, similarity, middles, cut, lost: new Set(vectors === 1 ? [] : lost),
    predicted: similarity.map((value) => value > cut.threshold),
  };
}

/** Say what a view shows, from its numbers. */
export function whatWeSaw({ arrows, middles, cut }) {
  const { shade, foot, wallpaper } = middles;
  const who = "v_s" in arrows ? "v_s" : "The nearer of v_pri and v_aux";
  const least = shade <= foot ? "shade" : "foot";
  let side = "nearer to both parts of the lamp than to the wallpaper";
  if (wallpaper > Math.max(shade, foot)) {
    side = "nearer to the wallpaper than to either part of the lamp";
  } else if (wallpaper > middles[least]) side = `nearer to the wallpaper than to the ${least}`;
  return `${who} has cosine ${shade.toFixed(2)} to the shade, ${foot.toFixed(2)} to the foot and ` +
    `${wallpaper.toFixed(2)} to the wallpaper: ${side}. ` +
    `The best of all thresholds gives IoU ${cut.iou.toFixed(3)}.`;
}

// ------------------------------------------------------------------------------ colours

const css = (rgb) => `rgb(${rgb.map((v) => Math.round(clamp(v, 0, 255))).join()})`;

const paintOf = ({ x, y }) => RED.map((red, i) => 255 - x * (255 - red) - y * (255 - BLUE[i]));

function heatOf(value) {
  const place = clamp(value, 0, 1) * 2, from = Math.min(Math.floor(place), 1);
  return DARK_TO_BRIGHT[from].map((v, i) => v + (place - from) * (DARK_TO_BRIGHT[from + 1][i] - v));
}

/** A cell that was predicted is tinted, another turns to dim grey, as in the course's pictures. */
function judged(rgb, predicted) {
  const seen = rgb.map((v) => clamp(v, 0, 255));
  if (predicted) return seen.map((v, i) => 0.4 * v + 0.6 * PURPLE[i]);
  return Array(3).fill(102 * Math.sqrt((seen[0] + seen[1] + seen[2]) / 765));
}

// ------------------------------------------------------------------------------ what is seen

const UNIT = 130, ORIGIN = 22, TALL = 190; // of the plane, in its own units
const across = (x) => ORIGIN + x * UNIT;
const down = (y) => TALL - ORIGIN - y * UNIT;

/** The world on a page: a plane with handles, three pictures, controls, and what we saw. */
class Stage {
  constructor(parent, state, changed) {
    this.state = state;
    this.changed = changed; // called when a gesture has come to its end
    this.stop = new AbortController();
    this.build(parent);
    this.draw();
  }

  build(parent) {
    const frame = make(parent, "div", { class: "scl-two-frame" });
    this.root = make(frame, "div", { class: "scl-two" });
    const bar = make(this.root, "div", { class: "scl-two-bar" });
    const lamp = make(bar, "span", { role: "group", "aria-label": "Lamp" });
    this.button(lamp, "Lamp of one colour", () => this.glide(ONE_COLOUR));
    this.button(lamp, "Lamp of two colours", () => this.glide(TWO_COLOURS));
    const guide = make(bar, "span", { role: "group", "aria-label": "What guides" });
    this.counts = [
      this.button(guide, "One vector", () => this.set({ vectors: 1 })),
      this.button(guide, "Two vectors", () => this.set({ vectors: 2 })),
    ];
    this.label = make(bar, "label", {}, "First prediction: cosine to v_s above");
    const range = { type: "range", min: 0.3, max: 0.99, step: 0.01 };
    this.range = make(this.label, "input", range);
    this.rangeText = make(this.label, "output", {});
    this.range.oninput = () => this.show({ firstCut: Number(this.range.value) });
    this.range.onchange = () => this.changed();
    const panels = make(this.root, "div", { class: "scl-two-panels" });
    this.buildPlane(panels);
    this.pictures = ["the lamp", "cosine", "prediction"].map((name) => this.picture(panels, name));
    this.says = make(this.root, "p", { class: "scl-two-says", role: "status" });
    // At the window and before all others: JupyterLab's own shortcuts listen there.
    const options = { signal: this.stop.signal, capture: true };
    window.addEventListener("keydown", (event) => this.key(event), options);
  }

  button(parent, text, act) {
    const button = make(parent, "button", { type: "button" }, text);
    button.onclick = act;
    return button;
  }

  buildPlane(parent) {
    const figure = make(parent, "figure", {});
    const svg = (this.svg = shape(figure, "svg", { viewBox: `0 0 ${TALL} ${TALL + 8}` }));
    const axes = `M${across(0)},${down(1.25)}V${down(0)}H${across(1.25)}`;
    const ink = { stroke: "currentColor", fill: "none" };
    shape(svg, "path", { d: axes, ...ink });
    shape(svg, "text", { x: across(0.45), y: TALL - 8 }, "red");
    shape(svg, "text", { x: across(0) + 5, y: down(1.2) }, "blue");
    const clip = shape(shape(svg, "clipPath", { id: `scl-two-${Stage.count++}` }), "path", {
      d: `M0,0H${TALL}V${TALL}H0Z`,
    });
    const within = { "clip-path": `url(#${clip.parentNode.id})` };
    const grey = { fill: INKS.wallpaper, opacity: 0.22, ...within };
    this.cones = [0, 1].map(() => shape(svg, "path", grey));
    this.dots = cellsOf(this.state.colours).map(({ kind }) =>
      shape(svg, "path", { d: MARKS[kind], stroke: INKS[kind], "fill-opacity": 0.8 }),
    );
    this.arrows = [0, 1].map(() => shape(svg, "path", { ...ink, "stroke-width": 2.5 }));
    this.names = [0, 1].map(() => shape(svg, "text", { "font-weight": 700 }));
    const handles = Object.keys(TWO_COLOURS).map((kind) => [kind, this.handle(kind)]);
    this.handles = Object.fromEntries(handles);
    make(figure, "figcaption", {}, "Drag a circle (or Tab and arrow keys). Hollow: lost.");
  }

  handle(kind) {
    const group = shape(this.svg, "g", {
      class: "scl-two-handle", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 90,
      "aria-label": `${kind}, how red and how blue`, "aria-roledescription": "point to drag",
    });
    shape(group, "circle", { r: 11 });
    shape(group, "text", kind === "shade" ? { x: -14, y: 25 } : { x: 14, y: 5 }, kind);
    const take = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY)
        .matrixTransform(this.svg.getScreenCTM().inverse());
      this.move(kind, (place.x - ORIGIN) / UNIT, (TALL - ORIGIN - place.y) / UNIT);
    };
    group.onpointerdown = (event) => {
      event.preventDefault();
      group.focus({ preventScroll: true });
      group.setPointerCapture(event.pointerId);
    };
    group.onpointermove = (event) => group.hasPointerCapture(event.pointerId) && take(event);
    group.onpointerup = group.onpointercancel = () => this.changed();
    return group;
  }

  picture(parent, name) {
    const figure = make(parent, "figure", {}), whole = 25 * SIDE;
    const view = { viewBox: `0 0 ${whole} ${whole}`, role: "img", "aria-label": name };
    const svg = shape(figure, "svg", view), size = { width: 25.3, height: 25.3 };
    const cells = [...LAMP].map((_, i) =>
      shape(svg, "rect", { x: 25 * (i % SIDE), y: 25 * Math.floor(i / SIDE), ...size }),
    );
    const edge = { d: outline(), fill: "none", "stroke-width": 3 };
    shape(svg, "path", { ...edge, stroke: "white" });
    shape(svg, "path", { ...edge, stroke: GREEN, "stroke-dasharray": "6 6" });
    return { cells, caption: make(figure, "figcaption", {}) };
  }

  // ---- gestures

  move(kind, x, y) {
    this.gliding = null;
    const place = [clamp(x, 0, MOST), clamp(y, 0, MOST)];
    this.show({ colours: { ...this.state.colours, [kind]: place } });
  }

  /** Move a handle that has the focus; keep from the notebook what is pressed in here. */
  key(event) {
    const target = event.composedPath()[0], { key } = event;
    if (!this.root.contains(target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const kind = Object.keys(this.handles).find((each) => this.handles[each] === target);
    const way = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    }[key];
    if (kind && way) {
      event.preventDefault();
      const step = event.shiftKey ? 0.01 : 0.05, [x, y] = this.state.colours[kind];
      this.move(kind, x + way[0] * step, y + way[1] * step);
      this.changed();
    }
    const theirs = key === "Tab" || key === "Escape" || (key === "Enter" && event.shiftKey);
    if (!theirs) event.stopPropagation();
  }

  /** Bring all colours to new places so slowly that one sees where the vectors go. */
  glide(target) {
    const start = this.state.colours, began = performance.now(), turn = (this.gliding = {});
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (now) => {
      if (this.gliding !== turn || this.stop.signal.aborted) return;
      const share = still ? 1 : clamp((now - began) / GLIDE, 0, 1);
      const between = (from, to) => from.map((v, i) => v + share * (to[i] - v));
      const kinds = Object.keys(target).map((kind) => [kind, between(start[kind], target[kind])]);
      this.show({ colours: Object.fromEntries(kinds) });
      share < 1 ? requestAnimationFrame(step) : this.changed();
    };
    requestAnimationFrame(step);
  }

  set(change) {
    this.show(change);
    this.changed();
  }

  show(change) {
    Object.assign(this.state, change);
    this.draw();
  }

  close() {
    this.stop.abort();
    this.root.parentNode.remove();
  }

  // ---- drawing

  draw() {
    const { colours, vectors, firstCut } = this.state, view = (this.view = look(this.state));
    this.counts.forEach((button, i) => button.setAttribute("aria-pressed", vectors === i + 1));
    this.label.style.display = vectors === 1 ? "none" : "";
    this.range.value = firstCut;
    this.rangeText.textContent = firstCut.toFixed(2);
    this.drawPlane(view, colours);
    const [lamp, heat, best] = this.pictures;
    const paint = (picture, caption, colour) => {
      view.cells.forEach((cell, i) => set(picture.cells[i], { fill: css(colour(cell, i)) }));
      picture.caption.textContent = caption;
    };
    paint(lamp, "picture; dashed: the lamp", paintOf);
    const names = Object.keys(view.arrows).join(" or ");
    paint(heat, `cosine to ${names}`, (_, i) => heatOf(view.similarity[i]));
    paint(best, `best threshold: IoU ${view.cut.iou.toFixed(3)}`, (cell, i) =>
      judged(paintOf(cell), view.predicted[i]));
    this.says.textContent = whatWeSaw(view);
  }

  drawPlane(view, colours) {
    view.cells.forEach((cell, i) => set(this.dots[i], {
      transform: `translate(${across(cell.x)},${down(cell.y)})`,
      fill: view.lost.has(cell) ? "none" : INKS[cell.kind],
    }));
    const arrows = Object.entries(view.arrows), half = Math.acos(clamp(view.cut.threshold, -1, 1));
    [0, 1].forEach((i) => {
      const [name, v] = arrows[i] ?? ["", { x: 0, y: 0 }];
      set(this.cones[i], { d: name && cone(Math.atan2(v.y, v.x), half) });
      set(this.arrows[i], { d: name && arrow(v) });
      set(this.names[i], { x: across(v.x) + 2, y: down(v.y) - 14 });
      this.names[i].textContent = name;
    });
    Object.entries(this.handles).forEach(([kind, group]) => {
      const [x, y] = colours[kind];
      set(group, {
        transform: `translate(${across(x)},${down(y)})`,
        "aria-valuenow": Math.round((Math.atan2(y, x) * 180) / Math.PI),
        "aria-valuetext": `${kind}: red ${x.toFixed(2)}, blue ${y.toFixed(2)}`,
      });
    });
  }
}
Stage.count = 0;

/** The rim of the lamp among the wallpaper's cells, as a path. */
function outline() {
  const inside = (row, column) =>
    row >= 0 && row < SIDE && column >= 0 && column < SIDE && LAMP[row * SIDE + column] !== ".";
  let path = "";
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      if (!inside(row, column)) continue;
      const x = 25 * column, y = 25 * row;
      if (!inside(row - 1, column)) path += `M${x},${y}h25`;
      if (!inside(row + 1, column)) path += `M${x},${y + 25}h25`;
      if (!inside(row, column - 1)) path += `M${x},${y}v25`;
      if (!inside(row, column + 1)) path += `M${x + 25},${y}v25`;
    }
  }
  return path;
}

/** What lies within an angle of a direction, as far as the plane goes and farther. */
function cone(middle, half) {
  const steps = Array.from({ length: 33 }, (_, i) => middle + half * (i / 16 - 1));
  const rim = steps.map((angle) => `L${across(3 * Math.cos(angle))},${down(3 * Math.sin(angle))}`);
  return `M${across(0)},${down(0)}${rim.join("")}Z`;
}

function arrow(v) {
  const angle = Math.atan2(v.y, v.x), tip = [across(v.x), down(v.y)];
  const barb = (turn) =>
    `M${tip}l${-9 * Math.cos(angle + turn)},${9 * Math.sin(angle + turn)}`;
  return `M${across(0)},${down(0)}L${tip}${barb(0.45)}${barb(-0.45)}`;
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Make an HTML element inside another. */
function make(parent, kind, attributes, text = "") {
  const element = set(document.createElement(kind), attributes);
  element.textContent = text;
  parent.append(element);
  return element;
}

/** Make an SVG element inside another. */
function shape(parent, kind, attributes, text = "") {
  const element = set(document.createElementNS("http://www.w3.org/2000/svg", kind), attributes);
  element.textContent = text;
  parent.append(element);
  return element;
}

// ------------------------------------------------------------------------------ to Python

/** What anywidget calls: Python holds what the reader has made of the world, for every window. */
export default {
  render({ model, el }) {
    const names = { colours: "colours", vectors: "vectors", firstCut: "first_cut" };
    const entries = Object.entries(names);
    const read = () => Object.fromEntries(entries.map(([own, name]) => [own, model.get(name)]));
    const stage = new Stage(el, read(), () => {
      const now = { ...stage.state };
      for (const [own, name] of entries) model.set(name, now[own]);
      model.save_changes();
    });
    const follow = () => stage.show(read());
    for (const [, name] of entries) model.on(`change:${name}`, follow);
    return () => {
      for (const [, name] of entries) model.off(`change:${name}`, follow);
      stage.close();
    };
  },
};

/** Put the world on a plain page. */
export function standalone(el, colours = ONE_COLOUR, vectors = 1) {
  return new Stage(el, { colours, vectors, firstCut: FIRST_CUT }, () => {});
}
