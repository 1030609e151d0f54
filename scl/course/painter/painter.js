// Paint a mask on a photograph. One ES module for notebooks (through anywidget) and plain pages:
//
//   import painter from "./painter.js"          // what anywidget calls
//   import { standalone } from "./painter.js"   // a page: await standalone(element, "mug.jpg")
//
// Data flows one way: a gesture changes the Painting, whose pixels are the photograph's own; the
// Painting tells the Easel, which only shows it, and the link, which brings what changed to Python.

export const OTHER = 0, OBJECT = 1, UNSURE = 255;
const LABELS = [OTHER, OBJECT, UNSURE]; // a label's place here is its code on the wire
const NEAR = 12; // CSS pixels: so close to a polygon's first corner closes it
const STEP = 8; // CSS pixels that an arrow key moves the keyboard's cursor
const MARGIN = 24; // CSS pixels it keeps from the canvas's edge where there is more to see
const LARGEST = 32; // CSS pixels a photograph's pixel may grow to
const PATIENCE = 5000; // milliseconds without an answer until we say so
// Green and orange of Okabe and Ito; stripes and a dashed outline tell without colour.
export const COLOURS = { object: "#009E73", unsure: "#E69F00" };

const TOOLS = {
  brush: { name: "Brush", key: "b", hint: "Drag to paint." },
  eraser: { name: "Eraser", key: "e", hint: "Drag to take away." },
  polygon: {
    name: "Polygon", key: "p",
    hint: "Click corner after corner; click the first one again, or press Enter, to fill.",
  },
  box: { name: "Box", key: "x", hint: "Drag from corner to corner." },
  move: { name: "Move", key: "m", hint: "Drag to move the picture; zoom with + and -." },
};

const KEYS = [
  ["Tab", "to the picture and to each control"],
  ["Arrow keys", "move the cursor (with Shift: by one pixel of the photograph)"],
  ["Space", "pen down, and up again; for a polygon: set a corner"],
  ["Enter", "fill the polygon"],
  ["Backspace", "take back a polygon's last corner"],
  ["Escape", "give up what is being drawn"],
  ["B E P X M", "brush, eraser, polygon, box, move"],
  ["U", "paint “not sure”, or the object again"],
  ["[ ]", "smaller or larger brush"],
  ["Z, Y", "undo, redo (also with Ctrl)"],
  ["Delete", "clear everything (Z brings it back)"],
  ["+ - 0", "zoom in, zoom out, whole picture (also Ctrl and the wheel, or two fingers)"],
  ["Alt + arrow keys", "move the picture"],
];

// ------------------------------------------------------------------------------ the mask

/** Write a rectangle of a mask as runs, row after row: length * 4 + code, in 32 bits each. */
export function toRuns(mask, width, box) {
  const runs = [];
  let label = -1, length = 0;
  for (let y = box.y; y < box.y + box.height; y++) {
    for (let x = box.x, at = y * width + x; x < box.x + box.width; x++, at++) {
      if (mask[at] === label) {
        length++;
      } else {
        if (length) runs.push(length * 4 + LABELS.indexOf(label));
        label = mask[at];
        length = 1;
      }
    }
  }
  runs.push(length * 4 + LABELS.indexOf(label));
  return Uint32Array.from(runs);
}

/** Put runs back into the rectangle of a mask they were taken from. */
export function putRuns(runs, mask, width, box) {
  let x = 0, y = box.y;
  for (const run of runs) {
    for (let left = run >>> 2; left > 0; ) {
      const piece = Math.min(left, box.width - x), start = y * width + box.x + x;
      mask.fill(LABELS[run & 3], start, start + piece);
      left -= piece;
      x += piece;
      if (x === box.width) {
        x = 0;
        y++;
      }
    }
  }
}

/** A mask of width x height labels that can be painted on, and what was done to it. */
export class Painting extends EventTarget {
  // Events: "look" (to be drawn anew), "commit" (detail: box and runs), "said" (detail: text).

  constructor(width, height) {
    super();
    Object.assign(this, { width, height, ready: false, touched: null, done: [], undone: [] });
    this.mask = new Uint8Array(width * height);
    this.kept = new Uint8Array(width * height); // as it was before what is being painted now
  }

  get whole() {
    return { x: 0, y: 0, width: this.width, height: this.height };
  }

  /** Take a whole mask from outside; what was done before cannot be undone any more. */
  load(runs) {
    if (runs) putRuns(runs, this.mask, this.width, this.whole);
    this.kept.set(this.mask);
    Object.assign(this, { ready: true, touched: null, done: [], undone: [] });
    this.dispatchEvent(new Event("look"));
  }

  say(text) {
    this.words = text; // for an easel that is only being built
    this.dispatchEvent(new CustomEvent("said", { detail: text }));
  }

  /** Label the pixels of a row whose centres lie between two places. */
  fillRow(y, from, to, label) {
    const left = clamp(Math.ceil(from - 0.5), 0, this.width);
    const right = clamp(Math.ceil(to - 0.5), 0, this.width);
    if (y < 0 || y >= this.height || left >= right) return;
    this.mask.fill(label, y * this.width + left, y * this.width + right);
    const { x0, y0, x1, y1 } = this.touched ?? { x0: left, y0: y, x1: right, y1: y + 1 };
    this.touched = {
      x0: Math.min(x0, left), y0: Math.min(y0, y), x1: Math.max(x1, right), y1: Math.max(y1, y + 1),
    };
  }

  /** Label the pixels whose centres lie inside a polygon, even-odd. */
  fillPolygon(points, label) {
    const heights = points.map((p) => p.y);
    const first = Math.max(Math.floor(Math.min(...heights)), 0);
    const last = Math.min(Math.ceil(Math.max(...heights)), this.height);
    for (let y = first; y < last; y++) {
      const crossings = [];
      points.forEach((a, i) => {
        const b = points[(i + 1) % points.length], middle = y + 0.5;
        if (a.y <= middle !== b.y <= middle) {
          crossings.push(a.x + ((middle - a.y) / (b.y - a.y)) * (b.x - a.x));
        }
      });
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        this.fillRow(y, crossings[i], crossings[i + 1], label);
      }
    }
    this.dispatchEvent(new Event("look"));
  }

  fillDisc(centre, radius, label) {
    for (let y = Math.floor(centre.y - radius); y <= centre.y + radius; y++) {
      const half = Math.sqrt(radius ** 2 - (y + 0.5 - centre.y) ** 2);
      if (half >= 0) this.fillRow(y, centre.x - half, centre.x + half, label);
    }
  }

  /** Draw a round brush from one place to another. */
  stroke(from, to, diameter, label) {
    // So wide at least that the pixel under its middle is always inside.
    const radius = Math.max(diameter / 2, 0.71);
    const dx = to.x - from.x, dy = to.y - from.y, length = Math.hypot(dx, dy);
    this.fillDisc(to, radius, label);
    if (length) {
      const side = { x: (-dy / length) * radius, y: (dx / length) * radius };
      const ends = [[from, 1], [to, 1], [to, -1], [from, -1]];
      this.fillPolygon(ends.map(([p, s]) => ({ x: p.x + s * side.x, y: p.y + s * side.y })), label);
      this.fillDisc(from, radius, label);
    }
    this.dispatchEvent(new Event("look"));
  }

  clear() {
    this.mask.fill(OTHER);
    this.touched = { x0: 0, y0: 0, x1: this.width, y1: this.height };
    this.commit();
  }

  /** Make what has been painted since the last time one thing that can be undone. */
  commit() {
    if (!this.touched) return;
    const { x0: x, y0: y, x1, y1 } = this.touched;
    const box = { x, y, width: x1 - x, height: y1 - y };
    const before = toRuns(this.kept, this.width, box), after = toRuns(this.mask, this.width, box);
    this.touched = null;
    if (String(before) === String(after)) return;
    this.done.push({ box, before, after });
    this.undone = [];
    this.put(box, after);
  }

  /** Forget what has been painted since the last time. */
  abandon() {
    if (!this.touched) return;
    this.mask.set(this.kept);
    this.touched = null;
    this.dispatchEvent(new Event("look"));
  }

  undo() {
    this.step(this.done, this.undone, "before");
  }

  redo() {
    this.step(this.undone, this.done, "after");
  }

  step(from, to, state) {
    this.abandon();
    const act = from.pop();
    if (!act) return this.say(`Nothing to ${state === "before" ? "undo" : "redo"}.`);
    to.push(act);
    this.put(act.box, act[state]);
  }

  put(box, runs) {
    putRuns(runs, this.mask, this.width, box);
    putRuns(runs, this.kept, this.width, box);
    this.dispatchEvent(new CustomEvent("commit", { detail: { box, runs } }));
    this.dispatchEvent(new Event("look"));
  }
}

// ------------------------------------------------------------------------------ what is seen

/** The painter on a page: a picture to paint on, its controls, and a line that says what is. */
class Easel {
  constructor(painting, photo, name, parent) {
    Object.assign(this, { painting, photo, name });
    this.tool = "brush";
    this.unsure = false;
    this.diameter = Math.max(Math.round(Math.max(painting.width, painting.height) / 30), 1);
    this.corners = []; // of the polygon or the box being drawn, in the photograph's pixels
    this.held = null; // the last place of a pen that is down
    this.cursor = { x: painting.width / 2, y: painting.height / 2 };
    this.byKeys = false; // whether the cursor was moved by keys, and is drawn as a cross
    this.pointers = new Map(); // those that are down: identifier to their place on the page
    this.zoom = 0; // CSS pixels a photograph's pixel; 0 while the page does not show the canvas
    this.fitted = true; // whether the whole photograph is shown, also when the page is resized
    this.left = this.top = 0; // where on the canvas the photograph begins, in CSS pixels
    this.tint = document.createElement("canvas");
    this.stop = new AbortController();
    this.build(parent);
    this.listen();
    this.choose("brush");
    if (painting.words) this.say(painting.words);
  }

  // ---- building

  build(parent) {
    this.root = make(parent, "div", { className: "scl-painter" });
    const bar = make(this.root, "div", { className: "scl-painter-bar" });
    const tools = make(bar, "span", { role: "group", ariaLabel: "Tool" });
    this.buttons = {};
    for (const [id, { name, key, hint }] of Object.entries(TOOLS)) {
      this.buttons[id] = this.button(tools, name, key, () => this.choose(id), hint);
    }
    const label = make(bar, "label", { textContent: "Brush size " });
    const most = Math.max(Math.round(Math.max(this.painting.width, this.painting.height) / 5), 2);
    this.size = make(label, "input", { type: "range", min: 1, max: most });
    this.sizeText = make(label, "output", {});
    this.size.oninput = () => this.resizeBrush(Number(this.size.value));
    const unsure = make(bar, "label", { title: "Paint where nobody can tell (U)" });
    this.unsureBox = make(unsure, "input", { type: "checkbox" });
    unsure.append(" Not sure");
    this.unsureBox.onchange = () => this.setUnsure(this.unsureBox.checked);
    const acts = make(bar, "span", { role: "group", ariaLabel: "Changes" });
    this.undoButton = this.button(acts, "Undo", "z", () => this.painting.undo());
    this.redoButton = this.button(acts, "Redo", "y", () => this.painting.redo());
    this.button(acts, "Clear", "Delete", () => this.clear());
    const view = make(bar, "span", { role: "group", ariaLabel: "View" });
    this.button(view, "−", "-", () => this.zoomBy(1 / 1.5)).ariaLabel = "Zoom out";
    this.button(view, "+", "+", () => this.zoomBy(1.5)).ariaLabel = "Zoom in";
    this.button(view, "Fit", "0", () => this.fit()).ariaLabel = "Whole picture";
    const { width, height } = this.painting;
    this.canvas = make(this.root, "canvas", {
      className: "scl-painter-canvas", tabIndex: 0, role: "application",
      ariaLabel: `${this.name}, ${width} by ${height} pixels, to paint a mask on. ` +
        "Arrow keys move the cursor, Space puts the pen down and lifts it.",
    });
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    const foot = make(this.root, "div", { className: "scl-painter-foot" });
    this.status = make(foot, "span", { role: "status" });
    this.place = make(foot, "span", { ariaLive: "polite", className: "scl-painter-place" });
    const help = make(this.root, "details", {});
    make(help, "summary", { textContent: "Keys" });
    const list = make(help, "dl", {});
    for (const [key, meaning] of KEYS) {
      make(list, "dt", { textContent: key });
      make(list, "dd", { textContent: meaning });
    }
  }

  button(parent, text, key, act, hint = "") {
    const title = `${hint} (${key.length === 1 ? key.toUpperCase() : key})`.trim();
    const button = make(parent, "button", { type: "button", textContent: text, title });
    button.onclick = act;
    return button;
  }

  listen() {
    const { canvas, painting, stop } = this, options = { signal: stop.signal };
    painting.addEventListener("look", () => this.look(true), options);
    painting.addEventListener("said", (event) => this.say(event.detail), options);
    for (const [type, react] of Object.entries({
      pointerdown: this.pointerDown, pointermove: this.pointerMove, pointerup: this.pointerUp,
      pointercancel: this.pointerCancel, pointerleave: this.pointerLeave, wheel: this.wheel,
      contextmenu: (event) => event.preventDefault(), blur: this.blur,
    })) {
      canvas.addEventListener(type, react.bind(this), { ...options, passive: false });
    }
    // At the window and before all others: JupyterLab's own shortcuts (X cuts a cell) listen there.
    window.addEventListener("keydown", (event) => this.key(event), { ...options, capture: true });
    this.watcher = new ResizeObserver(() => (this.fitted ? this.fit() : this.keepInside()));
    this.watcher.observe(canvas);
  }

  close() {
    this.stop.abort();
    this.watcher.disconnect();
    this.root.remove();
  }

  // ---- tools

  get label() {
    return this.erasing || this.tool === "eraser" ? OTHER : this.unsure ? UNSURE : OBJECT;
  }

  choose(tool) {
    this.giveUp();
    this.tool = tool;
    for (const [id, button] of Object.entries(this.buttons)) button.ariaPressed = id === tool;
    this.resizeBrush(this.diameter);
    this.say(TOOLS[tool].hint);
  }

  resizeBrush(diameter) {
    this.diameter = clamp(Math.round(diameter), 1, Number(this.size.max));
    this.size.value = this.diameter;
    this.sizeText.textContent = `${this.diameter} px`;
    this.look();
  }

  setUnsure(unsure) {
    this.unsure = this.unsureBox.checked = unsure;
    this.say(unsure ? "Painting “not sure”: it will not count." : "Painting the object.");
  }

  clear() {
    this.giveUp();
    this.painting.clear();
  }

  /** Leave what is being drawn as if it had never been begun. */
  giveUp() {
    this.corners = [];
    this.held = null;
    this.erasing = false;
    this.painting.abandon();
    this.look();
  }

  // The same three gestures serve the mouse, pens, fingers and the keyboard's cursor.

  penDown(p) {
    if (!this.painting.ready) return this.say("Still waiting for the mask from the kernel.");
    if (this.tool === "polygon") return this.corner(p);
    this.held = p;
    if (this.tool === "box") this.corners = [p, p];
    else if (this.tool !== "move") this.painting.stroke(p, p, this.diameter, this.label);
  }

  penMove(p) {
    if (this.tool === "box") this.corners[1] = p;
    else if (this.tool !== "move") this.painting.stroke(this.held, p, this.diameter, this.label);
    this.held = p;
    this.look();
  }

  penUp(p) {
    if (this.tool === "box") {
      const [a, b] = [this.corners[0], p];
      const box = [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }];
      this.painting.fillPolygon(box, this.label);
    }
    this.corners = [];
    this.held = null;
    this.painting.commit();
    this.erasing = false;
  }

  corner(p) {
    const [first] = this.corners, near = NEAR / this.zoom;
    if (this.corners.length > 2 && Math.hypot(p.x - first.x, p.y - first.y) < near) {
      return this.closePolygon();
    }
    this.corners.push(p);
    this.say(`${this.corners.length} corners; ${TOOLS.polygon.hint}`);
    this.look();
  }

  closePolygon() {
    if (this.corners.length < 3) return this.say("A polygon needs three corners at least.");
    this.painting.fillPolygon(this.corners, this.label);
    this.corners = [];
    this.painting.commit();
  }

  // ---- mouse, pens and fingers

  /** Where on the photograph an event took place, in its pixels. */
  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    // A page may show the canvas smaller or larger than it believes to be.
    const grown = frame.width / this.canvas.offsetWidth || 1;
    return {
      x: ((event.clientX - frame.left) / grown - this.left) / this.zoom,
      y: ((event.clientY - frame.top) / grown - this.top) / this.zoom,
    };
  }

  pointerDown(event) {
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.byKeys = false;
    if (this.pointers.size > 1) return this.giveUpStroke();
    this.panning = event.button === 1 || this.tool === "move";
    this.erasing = event.button === 5; // the other end of a pen
    if (!this.panning && (event.button === 0 || this.erasing)) this.penDown(this.at(event));
  }

  pointerMove(event) {
    const before = this.pointers.get(event.pointerId), now = { x: event.clientX, y: event.clientY };
    // Browsers also report a mouse that rests while the page moves: not to take the keys' cursor.
    if (this.last?.x === now.x && this.last.y === now.y) return;
    this.last = now;
    this.byKeys = false;
    this.cursor = this.at(event);
    this.hovering = event.pointerType !== "touch";
    if (before && this.pointers.size > 1) this.pinch(event.pointerId, now);
    else if (before && this.panning) this.moveView(now.x - before.x, now.y - before.y);
    else if (before && this.held) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) this.penMove(this.at(each));
    }
    if (before) this.pointers.set(event.pointerId, now);
    this.look();
  }

  pointerUp(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.held && !this.panning) this.penUp(this.at(event));
    this.panning = false;
  }

  pointerCancel(event) {
    if (this.pointers.delete(event.pointerId)) this.giveUpStroke();
  }

  pointerLeave() {
    this.hovering = false;
    this.look();
  }

  /** A second finger has come, or the browser took the first: it was no stroke. */
  giveUpStroke() {
    const corners = this.tool === "polygon" ? this.corners : [];
    this.giveUp();
    this.corners = corners;
  }

  /** Two fingers move and zoom the picture: it stays under both. */
  pinch(moved, now) {
    const [, still] = [...this.pointers].find(([id]) => id !== moved);
    const before = this.pointers.get(moved);
    const apart = (p) => Math.max(Math.hypot(p.x - still.x, p.y - still.y), 1);
    const frame = this.canvas.getBoundingClientRect();
    this.moveView((now.x - before.x) / 2, (now.y - before.y) / 2);
    const middle = [(now.x + still.x) / 2 - frame.left, (now.y + still.y) / 2 - frame.top];
    this.zoomBy(apart(now) / apart(before), ...middle);
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 200), event.offsetX, event.offsetY);
  }

  // ---- keys

  /** Do what a key stands for, where the focus is in this painter. */
  key(event) {
    const target = event.composedPath()[0];
    if (!this.root.contains(target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" && key !== "y") return; // the page's own, such as saving the notebook
      key === "z" && !event.shiftKey ? this.painting.undo() : this.painting.redo();
    } else if (target === this.canvas ? !this.canvasKey(key, event) : !this.anyKey(key)) {
      // The controls' own keys, and letters that mean nothing here but might cut a notebook's cell.
      const ours = key.length === 1 || key.startsWith("Arrow") || key === "Enter";
      if (ours && !(key === "Enter" && event.shiftKey)) event.stopPropagation();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Keys that work from every control; true where this was one. */
  anyKey(key) {
    const tool = Object.keys(TOOLS).find((id) => TOOLS[id].key === key);
    const acts = {
      u: () => this.setUnsure(!this.unsure),
      "[": () => this.resizeBrush(Math.min(this.diameter / 1.25, this.diameter - 1)),
      "]": () => this.resizeBrush(Math.max(this.diameter * 1.25, this.diameter + 1)),
      z: () => this.painting.undo(),
      y: () => this.painting.redo(),
      Delete: () => this.clear(),
      "+": () => this.zoomBy(1.5),
      "=": () => this.zoomBy(1.5),
      "-": () => this.zoomBy(1 / 1.5),
      0: () => this.fit(),
    };
    if (tool) this.choose(tool);
    else if (Object.hasOwn(acts, key)) acts[key]();
    else return false;
    return true;
  }

  /** Keys that work on the picture alone; true where this was one of them, or one of all. */
  canvasKey(key, event) {
    const [dx, dy] = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
    }[key] ?? [0, 0];
    if (dx || dy) {
      if (event.altKey || this.tool === "move") this.moveView(-40 * dx, -40 * dy);
      else this.moveCursor(dx, dy, event.shiftKey ? 1 : Math.max(STEP / this.zoom, 1));
    } else if (key === " ") {
      this.byKeys = true;
      this.held ? this.penUp(this.cursor) : this.penDown(this.cursor);
      this.tellPlace();
    } else if (this.tool === "polygon" && key === "Enter" && !event.shiftKey) this.closePolygon();
    else if (this.tool === "polygon" && key === "Backspace") this.corners.pop();
    else if (key === "Escape") this.giveUp();
    else return this.anyKey(key);
    this.look();
    return true;
  }

  moveCursor(dx, dy, step) {
    const { width, height } = this.painting, { clientWidth, clientHeight } = this.canvas;
    const x = clamp(this.cursor.x + dx * step, 0, width);
    const y = clamp(this.cursor.y + dy * step, 0, height);
    this.cursor = { x, y };
    this.byKeys = true;
    if (this.held) this.penMove(this.cursor);
    // The picture follows a cursor that comes near the edge of what is seen.
    const across = this.left + x * this.zoom, down = this.top + y * this.zoom;
    this.moveView(clamp(across, MARGIN, clientWidth - MARGIN) - across,
      clamp(down, MARGIN, clientHeight - MARGIN) - down);
    this.tellPlace();
  }

  /** A pen held down by a key is lifted when the focus goes elsewhere. */
  blur() {
    if (this.held) this.penUp(this.held);
    this.byKeys = false;
    this.place.textContent = "";
    this.look();
  }

  tellPlace() {
    const x = Math.floor(this.cursor.x), y = Math.floor(this.cursor.y);
    const label = this.painting.mask[y * this.painting.width + x];
    const what = { [OBJECT]: "object", [UNSURE]: "not sure" }[label] ?? "not marked";
    this.place.textContent = `${x}, ${y}: ${what}${this.held ? ", pen down" : ""}`;
  }

  // ---- the view

  get smallest() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / this.painting.width, clientHeight / this.painting.height);
  }

  fit() {
    this.zoom = this.smallest;
    this.keepInside();
  }

  /** Zoom about a place of the canvas in CSS pixels, by default a cursor in use or the middle. */
  zoomBy(factor, x, y) {
    const { clientWidth, clientHeight } = this.canvas, used = this.byKeys || this.hovering;
    x ??= used ? this.left + this.cursor.x * this.zoom : clientWidth / 2;
    y ??= used ? this.top + this.cursor.y * this.zoom : clientHeight / 2;
    const zoom = clamp(this.zoom * factor, this.smallest, Math.max(LARGEST, this.smallest));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.keepInside();
  }

  moveView(dx, dy) {
    if (!dx && !dy) return;
    this.left += dx;
    this.top += dy;
    this.keepInside();
  }

  /** Centre a photograph that is smaller than the canvas; leave no gap beside a larger one. */
  keepInside() {
    const place = (start, shown, size) =>
      size <= shown ? (shown - size) / 2 : clamp(start, shown - size, 0);
    this.zoom = Math.max(this.zoom, this.smallest);
    this.fitted = this.zoom === this.smallest;
    const { clientWidth, clientHeight } = this.canvas, { width, height } = this.painting;
    this.left = place(this.left, clientWidth, width * this.zoom);
    this.top = place(this.top, clientHeight, height * this.zoom);
    this.look(true);
  }

  // ---- drawing

  /** Draw at the next frame; changed: the mask or the view, not only the cursor. */
  look(changed = false) {
    this.stale ||= changed;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const ratio = window.devicePixelRatio || 1, { canvas, tint, painting } = this;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return; // hidden for now
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height, tint.width, tint.height] = [width, height, width, height];
      this.stale = true;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.setTransform(ratio, 0, 0, ratio, this.left * ratio, this.top * ratio);
    pen.drawImage(this.photo, 0, 0, painting.width * this.zoom, painting.height * this.zoom);
    if (this.stale) this.drawTint(ratio);
    this.stale = false;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(tint, 0, 0);
    pen.setTransform(ratio, 0, 0, ratio, this.left * ratio, this.top * ratio);
    this.drawDraft(pen);
    // Not `disabled`, which would throw the focus of whoever pressed the button off the painter.
    this.undoButton.ariaDisabled = !painting.done.length;
    this.redoButton.ariaDisabled = !painting.undone.length;
  }

  /** Show the mask as far as it is seen: a tint in a dashed outline, and stripes for "not sure". */
  drawTint(ratio) {
    const { width, height } = this.tint, { mask } = this.painting;
    const pen = this.tint.getContext("2d"), image = pen.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), scale = this.zoom * ratio;
    const thick = Math.round(ratio * 1.5), dash = Math.round(4 * ratio);
    const inner = ink(COLOURS.object, 0.45), outer = ink(COLOURS.object), white = ink("#ffffff");
    const stripe = ink(COLOURS.unsure, 0.9), between = ink("#000000", 0.35);
    // Of a canvas pixel the photograph's, and a spare end so that an outline can look ahead.
    const places = (count, start, size) => Int32Array.from({ length: count + thick }, (_, i) =>
      clamp(Math.floor((i + 0.5 - start * ratio) / scale), -1, size));
    const columns = places(width, this.left, this.painting.width);
    const rows = places(height, this.top, this.painting.height);
    const within = (v, size) => v >= 0 && v < size;
    for (let j = 0; j < height; j++) {
      if (!within(rows[j], this.painting.height)) continue;
      const row = rows[j] * this.painting.width;
      const below = Math.min(rows[j + thick], this.painting.height - 1) * this.painting.width;
      for (let i = 0; i < width; i++) {
        const column = columns[i];
        if (!within(column, this.painting.width)) continue;
        const label = mask[row + column];
        const right = Math.min(columns[i + thick], this.painting.width - 1);
        const ends = label !== mask[row + right] || label !== mask[below + column];
        const odd = Math.floor((i + j) / dash) % 2;
        if (ends) pixels[j * width + i] = odd ? white : outer;
        else if (label === OBJECT) pixels[j * width + i] = inner;
        else if (label === UNSURE) pixels[j * width + i] = odd ? stripe : between;
      }
    }
    pen.putImageData(image, 0, 0);
  }

  /** Draw what is not part of the mask yet: corners, the brush's size, the keyboard's cross. */
  drawDraft(pen) {
    const spot = (p) => [p.x * this.zoom, p.y * this.zoom];
    const path = new Path2D();
    if (this.tool === "box" && this.corners.length) {
      const [[x, y], [x1, y1]] = this.corners.map(spot);
      path.rect(x, y, x1 - x, y1 - y);
    } else if (this.corners.length) {
      for (const p of this.corners) path.lineTo(...spot(p));
      if (this.hovering || this.byKeys) path.lineTo(...spot(this.cursor));
      const [x, y] = spot(this.corners[0]);
      path.moveTo(x + 5, y);
      path.arc(x, y, 5, 0, 7);
    }
    const [x, y] = spot(this.cursor);
    const round = this.tool === "brush" || this.tool === "eraser";
    if (round && (this.hovering || this.byKeys)) {
      const radius = (this.diameter / 2) * this.zoom;
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 7);
    }
    if (this.byKeys) {
      for (const [dx, dy] of [[1, 0], [0, 1]]) {
        path.moveTo(x - 10 * dx, y - 10 * dy);
        path.lineTo(x + 10 * dx, y + 10 * dy);
      }
    }
    // Black in white, which shows on every ground.
    for (const [colour, width] of [["white", 3], ["black", 1]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: width });
      pen.stroke(path);
    }
  }

  say(text) {
    this.status.textContent = text;
    this.status.classList.toggle("scl-painter-alarm", text.startsWith("NOT SAVED"));
  }
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** Make an element inside another. */
function make(parent, kind, properties) {
  const element = Object.assign(document.createElement(kind), properties);
  // Not a property in every browser.
  if (properties.role) element.setAttribute("role", properties.role);
  parent.append(element);
  return element;
}

/** A colour as canvases store it, four bytes from red to opacity. */
function ink(colour, opacity = 1) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return new Uint32Array(new Uint8Array([r, g, b, Math.round(255 * opacity)]).buffer)[0];
}

/** Load a picture from an address. */
async function loadPhoto(address) {
  const photo = new Image();
  photo.src = address;
  await photo.decode();
  return photo;
}

// ------------------------------------------------------------------------------ to Python

/** Bring what is painted to Python, and what Python knows to the painting. */
function link(painting, model) {
  let version = 0, waiting = null; // version: how many changes the mask here has seen
  const send = (content, buffers, doing, late) => {
    clearTimeout(waiting);
    painting.say(doing);
    waiting = setTimeout(() => painting.say(late), PATIENCE);
    try {
      model.send(content, undefined, buffers);
    } catch {
      clearTimeout(waiting);
      painting.say("NOT SAVED: this kernel has ended. Run the cell again; what was saved is kept.");
    }
  };
  const open = () => send({ kind: "open" }, [], "Asking for the mask …",
    "The kernel does not answer: it is busy, or this cell needs to be run again.");
  painting.addEventListener("commit", ({ detail: { box, runs } }) => {
    const place = [box.x, box.y, box.width, box.height];
    send({ kind: "patch", version: version++, place }, [runs.buffer], "Saving …",
      "Not saved yet: the kernel is busy. If it was restarted, run this cell again.");
  });
  model.on("msg:custom", (content, buffers) => {
    const newer = content.version > version;
    // A whole mask that another window asked for is no news here.
    if (content.kind === "mask" && painting.ready && !newer && !content.overtaken) return;
    clearTimeout(waiting);
    if (content.kind === "saved" && newer) return open(); // another window's stroke
    if (content.kind === "mask") {
      const { buffer, byteOffset, byteLength } = buffers[0];
      painting.load(new Uint32Array(buffer.slice(byteOffset, byteOffset + byteLength)));
      version = content.version;
    }
    painting.say(content.text);
  });
  open();
}

/** What anywidget calls: a painting for each Python object, an easel for each place it is shown. */
export default () => {
  let painting;
  return {
    initialize({ model }) {
      painting = new Painting(...model.get("size"));
      link(painting, model);
    },
    async render({ model, el }) {
      const data = model.get("picture"), address = URL.createObjectURL(new Blob([data]));
      const easel = new Easel(painting, await loadPhoto(address), model.get("name"), el);
      URL.revokeObjectURL(address);
      return () => easel.close();
    },
  };
};

/** Put a painter on a plain page; its mask is kept by the button that downloads it. */
export async function standalone(el, address, name = "photograph") {
  const photo = await loadPhoto(address);
  const painting = new Painting(photo.naturalWidth, photo.naturalHeight);
  const easel = new Easel(painting, photo, name, el);
  painting.load();
  easel.button(easel.root.querySelector(".scl-painter-bar"), "Download mask", "PNG", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await toPNG(painting));
    link.download = `${name.replace(/\.\w+$/, "")}-painted.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  return easel;
}

/** Write a mask as people see it: the object white, the rest black, "not sure" grey. */
export function toPNG({ mask, width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  const greys = { [OTHER]: ink("#000000"), [OBJECT]: ink("#ffffff"), [UNSURE]: ink("#777777") };
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < mask.length; i++) pixels[i] = greys[mask[i]];
  pen.putImageData(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
