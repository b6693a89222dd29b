"use strict";
// The page of `netbuilder draw`. Text from the net is only ever set by textContent.
const DATA = JSON.parse(document.getElementById("data").textContent);
// A table has the numbers of its values by column, since the phases of a net share most of them.
for (const { phases } of DATA.nets) for (const net of Object.values(phases))
  for (const name of ["layers", "units", "blocks"]) net[name] = rowsOf(Object.entries(net[name]));
function rowsOf(columns) {
  return columns.length ? columns[0][1].map((_, i) =>
    Object.fromEntries(columns.filter(([, at]) => at[i] >= 0).map(([key, at]) => [key, DATA.values[at[i]]]))) : [];
}
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PAD = 14, TITLE = 22, AT_FIRST = 40;

function element(tag, attributes, text, parent) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function shape(tag, attributes, parent, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const exact = (n) => n === null || n === undefined ? "?" : typeof n === "number" ? n.toLocaleString("en") : String(n);
function short(n) {
  if (n === null || n === undefined) return "?";
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (n >= size) return (n / size).toPrecision(3) + " " + unit;
  return String(+n.toPrecision(4));
}
function mebibytes(n) {
  const power = n >= 2 ** 30 ? 3 : n >= 2 ** 20 ? 2 : n >= 2 ** 10 ? 1 : 0;
  return +(n / 1024 ** power).toPrecision(3) + [" B", " KiB", " MiB", " GiB"][power];
}
const dims = (s) => s === null || s === undefined ? "?" : s.length ? s.join("×") : "scalar";
const milliseconds = (n) => n === null || n === undefined ? "?" : n.toFixed(3);

// ---- figures ------------------------------------------------------------------------------------------

const COLOURS = [["macs", "MACs"], ["learnable_params", "Parameters"], ["activations", "Activations"],
  ["working", "Working set"], ["time", "Measured time"], ["", "Nothing"]];
let colour = "macs";
let phase = "";
const timeOf = (row) => row.forward_ms === null || row.forward_ms === undefined ? null
  : row.forward_ms + row.backward_ms;
const figure = (row, key) => key === "time" ? timeOf(row) : key === "working" ? row.memory.working_bytes : row[key];
// Of several layers: memory is used again, everything else adds up.
const together = (values, key) => values.reduce((a, b) => key === "working" ? Math.max(a, b) : a + b, 0);
const share = (net, value, key) => {
  const whole = figure(net.blocks[0], key);
  return value && whole ? value / whole : 0;
};
const percent = (x) => x >= 0.0995 ? (100 * x).toFixed(0) + " %" : (100 * x).toFixed(1) + " %";

// ---- one net ------------------------------------------------------------------------------------------

class View {
  constructor(number) {
    this.number = number;
    const entry = DATA.nets[number];
    this.pane = element("div", { class: "pane" }, undefined, $("panes"));
    if (DATA.nets.length > 1) element("h2", {}, "AB"[number] + ": " + entry.title, this.pane);
    this.svg = shape("svg", { role: "group", "aria-label": "Graph of " + entry.title }, this.pane);
    this.world = shape("g", {}, this.svg);
    this.listen();
  }

  load() {
    const phases = DATA.nets[this.number].phases;
    this.net = phases[phase] || Object.values(phases)[0];
    const net = this.net;
    const found = DATA.differences && DATA.differences[phase];
    this.marks = new Map(found ? Object.entries(found.marks[this.number]) : []);
    this.parent = new Map();
    net.blocks.forEach((block, g) => block.children.forEach((child) => this.parent.set(child, g)));
    this.unitOf = [];
    net.units.forEach((unit, u) => unit.layers.forEach((layer) => { this.unitOf[layer] = u; }));
    this.opened = new Set();
    this.picked = null;
    this.openMore(AT_FIRST);
    this.draw();
    this.fit();
  }

  isUnit(ref) { return ref > 0 || Object.is(ref, 0); }

  openMore(limit) {
    for (;;) {
      const next = new Set(this.opened);
      for (const ref of this.shown()) if (!this.isUnit(ref)) next.add(-ref);
      if (next.size === this.opened.size) return false;
      const before = this.opened;
      this.opened = next;
      if (limit === undefined) return true;
      if (this.shown().length > limit) { this.opened = before; return true; }
    }
  }

  // The nodes that are drawn without their inside.
  shown() {
    const found = [], waiting = [0];
    while (waiting.length)
      for (const child of this.net.blocks[waiting.pop()].children)
        if (!this.isUnit(child) && this.opened.has(-child)) waiting.push(-child);
        else found.push(child);
    return found;
  }

  // The inside of a group, stretched where its children are open: rows by the tallest, columns by the widest.
  arranged(g) {
    const block = this.net.blocks[g], inside = block.inside;
    const boxes = inside.boxes.map(([x, y, w, h], i) => {
      const ref = block.children[i];
      const sub = ref !== undefined && !this.isUnit(ref) && this.opened.has(-ref) ? this.arranged(-ref) : null;
      return { x, y, w, h, ref, sub, W: sub ? Math.max(w, sub.w + 2 * PAD) : w, H: sub ? sub.h + TITLE + PAD : h };
    });
    const rows = new Map();
    for (const box of boxes) {
      const row = rows.get(box.y) || { y: box.y, h: 0, H: 0 };
      row.h = Math.max(row.h, box.h);
      row.H = Math.max(row.H, box.H);
      rows.set(box.y, row);
    }
    const grown = [...rows.values()].filter((row) => row.H > row.h);
    const down = (y) => grown.reduce((sum, row) =>
      sum + (row.H - row.h) * Math.min(1, Math.max(0, (y - row.y + row.h / 2) / row.h)), y);
    const wide = boxes.filter((box) => box.W > box.w);
    const cuts = [...new Set(wide.flatMap((box) => [box.x - box.w / 2, box.x + box.w / 2]))].sort((a, b) => a - b);
    const stretch = cuts.slice(1).map((end, i) => {
      const over = wide.filter((box) => box.x - box.w / 2 < end - 1e-6 && box.x + box.w / 2 > cuts[i] + 1e-6);
      return Math.max(1, ...over.map((box) => box.W / box.w));
    });
    const across = (x) => stretch.reduce((sum, by, i) =>
      sum + (by - 1) * Math.min(cuts[i + 1] - cuts[i], Math.max(0, x - cuts[i])), x);
    for (const box of boxes) {
      box.X = box.sub ? (across(box.x - box.w / 2) + across(box.x + box.w / 2)) / 2 : across(box.x);
      box.Y = down(box.y);
    }
    const edges = inside.edges.map(([tail, head, text, points]) => {
      const a = boxes[tail], b = boxes[head], curve = [];
      // A line stays between the row that it leaves and the row that it enters, where no box is beside it.
      const from = rows.get(a.y), to = rows.get(b.y), downwards = a.y < b.y;
      const low = downwards ? down(from.y + from.h / 2) : 0, high = downwards ? down(to.y - to.h / 2) : Infinity;
      for (let i = 0; i < points.length; i += 2)
        curve.push([across(points[i]), Math.min(high, Math.max(low, down(points[i + 1])))]);
      // The ends are where the boxes are now, and what is between follows by as much as it is near to an end.
      const last = curve.length - 1, [dx, ex] = [a.X - curve[0][0], b.X - curve[last][0]];
      curve.forEach((point, i) => { point[0] += dx + (ex - dx) * i / last; });
      return { a, b, text, curve, tail };
    });
    return { w: across(inside.size[0]), h: down(inside.size[1]), boxes, edges, ports: inside.ports,
      first: block.children.length };
  }

  draw() {
    const focused = this.world.contains(document.activeElement);
    this.world.replaceChildren();
    this.nodes = new Map();
    this.whole = this.arranged(0);
    this.paint(this.whole, this.world, 0, 0, false);
    this.showPick();
    if (focused && this.picked) this.focusPick();
  }

  paint(all, parent, left, top, inGroup) {
    const layer = shape("g", { class: inGroup ? "in-group" : "" }, parent);
    for (const edge of all.edges) this.paintEdge(edge, layer, left, top);
    all.boxes.forEach((box, i) => {
      if (i >= all.first)
        shape("text", { class: "port", x: left + box.X, y: top + box.Y + 4, "text-anchor": "middle" }, layer,
          all.ports[i - all.first]);
      else this.paintNode(box, layer, left, top);
    });
    const said = new Set();
    for (const edge of all.edges) {
      if (edge.tail >= all.first || said.has(edge.tail + edge.text)) continue;
      said.add(edge.tail + edge.text);
      shape("text", { class: "shape", x: left + edge.start[0] + 4, y: top + edge.start[1] + 12 }, layer,
        edge.text);
    }
  }

  paintEdge(edge, layer, left, top) {
    const points = edge.curve;
    edge.start = [edge.a.X, edge.a.Y + edge.a.H / 2];
    edge.end = [edge.b.X, edge.b.Y - edge.b.H / 2];
    const at = ([x, y]) => (left + x).toFixed(1) + "," + (top + y).toFixed(1);
    const tip = [edge.end[0], edge.end[1] - 5], kind = edge.text ? "" : "faint";  // read for its size alone
    shape("path", { class: kind, d: "M" + at(edge.start) + "L" + at(points[0]) + "C" + points.slice(1).map(at).join(" ")
      + "L" + at(tip) }, layer);
    const [x, y] = [left + edge.end[0], top + edge.end[1]];
    shape("path", { class: "tip " + kind, d: `M${x},${y}L${x - 3.5},${y - 7}L${x + 3.5},${y - 7}Z` }, layer);
  }

  paintNode(box, layer, left, top) {
    const { ref, sub, W, H } = box, net = this.net;
    const unit = this.isUnit(ref), item = unit ? net.units[ref] : net.blocks[-ref];
    const row = unit ? net.layers[item.layers[0]] : item;
    const x = left + box.X - W / 2, y = top + box.Y - H / 2;
    const value = unit ? together(item.layers.map((i) => figure(net.layers[i], colour) || 0), colour)
      : figure(row, colour);
    const part = colour ? share(net, value, colour) : 0;
    const mark = this.markOf(ref);
    const said = [row.name, item.under, ...(item.chips || []), part ? percent(part) + " of " + colourName() : "",
      mark || ""];
    const node = shape("g", { class: "node" + (mark ? " mark-" + mark : ""), role: "button", tabindex: -1,
      "aria-label": said.filter(Boolean).join(", ") }, layer);
    if (!unit) node.setAttribute("aria-expanded", String(Boolean(sub)));
    shape("rect", { class: "box " + (sub ? "open" : unit ? "" : "closed"), x, y, width: W, height: H }, node);
    if (!sub && part) shape("rect", { class: "heat", x, y, width: W, height: H,
      opacity: (0.75 * Math.sqrt(part)).toFixed(3) }, node);
    shape("title", {}, node, said.filter(Boolean).join("\n") + (unit ? "" : "\nclick: " + (sub ? "close" : "open")));
    shape("text", { class: "name", x: x + 8, y: y + 15 }, node, (unit ? "" : sub ? "▾ " : "▸ ") + item.label);
    if (part >= 0.0005) shape("text", { class: "share", x: x + W - 7, y: y + (sub ? 15 : 31), "text-anchor": "end" },
      node, percent(part));
    if (!sub) shape("text", { class: "under", x: x + 8, y: y + 31 }, node, item.under);
    node.addEventListener("click", (event) => {
      event.stopPropagation();
      if (this.dragged) return;
      if (unit) this.pick({ layer: item.layers[0] });
      else this.toggle(-ref);
    });
    let at = x + 8;
    if (unit) item.chips.forEach((text, i) => {
      const number = item.layers[i + 1], wide = text.length * 5.9 + 8;
      const chip = shape("rect", { class: "chip", x: at, y: y + 37, width: wide, height: 15 }, node);
      shape("text", { class: "under", x: at + wide / 2, y: y + 48, "text-anchor": "middle" }, node, text);
      chip.addEventListener("click", (event) => {
        event.stopPropagation();
        if (!this.dragged) this.pick({ layer: number });
      });
      this.nodes.set("chip" + number, chip);
      at += wide + 4;
    });
    this.nodes.set(ref === 0 ? "0" : String(ref), { node, x: left + box.X, y: top + box.Y, w: W, h: H });
    if (sub) this.paint(sub, layer, x + (W - sub.w) / 2, y + TITLE, true);
  }

  markOf(ref) {
    if (!this.marks.size) return "";
    const waiting = [ref], found = new Set();
    while (waiting.length) {
      const next = waiting.pop();
      if (!this.isUnit(next)) waiting.push(...this.net.blocks[-next].children);
      else for (const i of this.net.units[next].layers) found.add(this.marks.get(this.net.layers[i].name) || "");
    }
    found.delete("");
    return found.size === 0 ? "" : found.size > 1 ? "changed" : [...found][0];
  }

  // ---- what is picked

  toggle(g) {
    if (this.opened.has(g)) this.opened.delete(g); else this.opened.add(g);
    this.keepInPlace(-g, () => this.draw());
    this.pick({ block: g }, false);
  }

  keepInPlace(ref, change) {
    const before = this.nodes.get(String(ref));
    change();
    const after = this.nodes.get(String(ref));
    if (before && after) {
      this.tx += (before.x - after.x) * this.scale;
      this.ty += (before.y - before.h / 2 - after.y + after.h / 2) * this.scale;
      this.move();
    }
  }

  refOf(pick) { return pick.block !== undefined ? -pick.block : this.unitOf[pick.layer]; }

  // Show a layer or block: open what is around it, and tell the panel, the table and the other net.
  pick(pick, pan, quiet) {
    this.picked = pick;
    active = this;
    let closed = false;
    for (let g = this.parent.get(this.refOf(pick)); g; g = this.parent.get(-g))
      if (!this.opened.has(g)) { this.opened.add(g); closed = true; }
    if (closed) this.draw(); else this.showPick();
    if (pan) this.center();
    showSide(this);
    if (quiet) return;
    showTable(false);
    showRow();
    const other = views.find((view) => view !== this), row = this.rowOf(pick);
    if (!other || pick.block === 0) return;
    const name = pick.layer === undefined ? row.name : twinOf(row.name, this.number);
    const rows = pick.layer === undefined ? other.net.blocks : other.net.layers;
    const i = rows.findIndex((twin, n) => twin.name === name && (pick.layer !== undefined || n && twin.kind === row.kind));
    if (i < 0) return;
    other.pick(pick.layer === undefined ? { block: i } : { layer: i }, true, true);
    active = this;
    showSide(this);
  }

  rowOf(pick) { return pick.block !== undefined ? this.net.blocks[pick.block] : this.net.layers[pick.layer]; }

  showPick() {
    for (const found of this.svg.querySelectorAll(".picked")) found.classList.remove("picked");
    for (const { node } of this.nodes.values()) if (node) node.setAttribute("tabindex", -1);
    let first = this.nodes.values().next().value;
    if (this.picked) {
      const found = this.nodes.get(String(this.refOf(this.picked)));
      if (found) { found.node.classList.add("picked"); first = found; }
      const chip = this.nodes.get("chip" + this.picked.layer);
      if (chip) chip.classList.add("picked");
    }
    if (first && first.node) first.node.setAttribute("tabindex", 0);
  }

  focusPick() {
    const found = this.nodes.get(String(this.refOf(this.picked)));
    if (found) found.node.focus({ preventScroll: true });
  }

  center() {
    const found = this.nodes.get(String(this.refOf(this.picked)));
    if (!found) return;
    const { width, height } = this.svg.getBoundingClientRect();
    this.scale = Math.min(Math.max(this.scale, 0.8), 2);
    this.tx = width / 2 - found.x * this.scale;
    this.ty = height / 2 - found.y * this.scale;
    this.move();
  }

  // ---- zoom, pan, keys

  move() { this.world.setAttribute("transform", `translate(${this.tx},${this.ty}) scale(${this.scale})`); }

  fit() {
    const { width, height } = this.svg.getBoundingClientRect();
    const all = this.whole;
    const whole = Math.min((width - 30) / all.w, (height - 50) / all.h);
    this.scale = Math.min(1.2, Math.max(whole, 0.02));
    if (!this.fitted && this.scale < 0.7) this.scale = Math.min(0.85, Math.max((width - 30) / all.w, 0.45));
    this.fitted = true;
    this.tx = (width - all.w * this.scale) / 2;
    this.ty = Math.max(28, (height - all.h * this.scale) / 2);
    this.move();
  }

  zoom(by, x, y) {
    const { width, height } = this.svg.getBoundingClientRect();
    const [cx, cy] = [x === undefined ? width / 2 : x, y === undefined ? height / 2 : y];
    const next = Math.min(4, Math.max(0.01, this.scale * by)), ratio = next / this.scale;
    this.tx = cx - (cx - this.tx) * ratio;
    this.ty = cy - (cy - this.ty) * ratio;
    this.scale = next;
    this.move();
  }

  listen() {
    let from = null;
    this.svg.addEventListener("pointerdown", (event) => {
      this.dragged = false;
      from = [event.clientX, event.clientY, this.tx, this.ty];
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return;
      const [dx, dy] = [event.clientX - from[0], event.clientY - from[1]];
      if (Math.abs(dx) + Math.abs(dy) > 4 && !this.dragged) {
        this.dragged = true;
        this.svg.setPointerCapture(event.pointerId);
      }
      if (!this.dragged) return;
      [this.tx, this.ty] = [from[2] + dx, from[3] + dy];
      this.move();
    });
    this.svg.addEventListener("pointerup", () => { from = null; });
    this.svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.svg.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - box.x, event.clientY - box.y);
    }, { passive: false });
    this.svg.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pick = this.picked || { block: 0 }, ref = this.refOf(pick);
    const steps = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 };
    if (event.key === "Enter" || event.key === " ") {
      if (pick.block) this.toggle(pick.block);
      else if (this.picked) { showSide(this); $("side").focus(); }
      else this.walk(1);
    } else if (event.key in steps) {
      const inside = event.key === "ArrowRight" || event.key === "ArrowLeft";
      if (inside && pick.layer !== undefined && this.net.units[ref].layers.length > 1) {
        const layers = this.net.units[ref].layers, i = layers.indexOf(pick.layer) + steps[event.key];
        if (i >= 0 && i < layers.length) this.pick({ layer: layers[i] });
      } else this.walk(steps[event.key]);
    } else if (event.key === "Escape") {
      const g = this.parent.get(ref);
      if (pick.block && this.opened.has(pick.block)) this.toggle(pick.block);
      else if (g) { this.pick({ block: g }, true); this.toggle(g); }
    } else return;
    event.preventDefault();
    if (this.picked) this.focusPick();
  }

  // To the next node of those drawn, in the order of the net.
  walk(step) {
    const order = [...this.nodes.keys()].filter((key) => !key.startsWith("chip"));
    const here = this.picked ? order.indexOf(String(this.refOf(this.picked))) : -1;
    const next = order[Math.min(order.length - 1, Math.max(0, here + step))];
    if (next === undefined) return;
    const ref = +next;
    this.pick(ref < 0 ? { block: -ref } : { layer: this.net.units[ref].layers[0] }, true);
  }
}

const colourName = () => colour === "working" ? "the largest working set"
  : COLOURS.find(([key]) => key === colour)[1];
function twinOf(name, number) {
  const found = DATA.differences && DATA.differences[phase];
  const pair = found && found.renamed.find((names) => names[number] === name);
  return pair ? pair[1 - number] : name;
}

// ---- the panel ----------------------------------------------------------------------------------------

const FIGURES = [["learnable_params", "learnable parameters"], ["stored_params", "stored parameters"], ["macs", "MACs"],
  ["fixed_macs", "MACs of fixed filters"], ["flops", "FLOPs (2 per MAC)"], ["ops", "other operations"],
  ["total_flops", "all operations"], ["activations", "activations"]];
const CONVENTIONS = {
  learnable_params: "what the solver may change", stored_params: "every number in the .caffemodel",
  fixed_params: "weights of fixed filters", macs: "one multiply and one add, without fixed filters",
  fixed_macs: "MACs of fixed filters", flops: "2 × MACs", total_flops: "2 per MAC, and every other operation",
  activations: "elements of all blobs, in place adds none", activation_bytes: "all blobs, whole batch",
  peak_bytes: "most alive at once in a forward pass", weight_bytes: "stored parameters",
  train_bytes: "with gradients and one momentum", caffe_data_bytes: "what Caffe's log says",
  pynetbuilder_params: "the ancestor's convention", pynetbuilder_flops: "the ancestor's convention",
};

function list(parent, pairs) {
  const made = element("dl", {}, undefined, parent);
  for (const [key, value, title] of pairs) {
    element("dt", title ? { title } : {}, key, made);
    element("dd", {}, value, made);
  }
}

function times(view, row) {
  if (timeOf(row) === null) return [];
  const part = share(view.net, timeOf(row), "time"), macs = share(view.net, row.macs, "macs");
  return [["forward ms", milliseconds(row.forward_ms)], ["backward ms", milliseconds(row.backward_ms)],
    ["share of the time", percent(part)], ["share of the MACs", percent(macs)],
    ...(macs ? [["time : MACs", (part / macs).toFixed(2)]] : [])];
}

function showSide(view) {
  const side = $("side"), net = view.net;
  side.replaceChildren();
  if (!view.picked || view.picked.block === 0) return showTotals(side, view);
  const row = view.rowOf(view.picked), layer = view.picked.layer !== undefined;
  element("h2", {}, row.name, side);
  element("p", {}, layer ? row.type : [row.kind, row.layers + " layers"].filter(Boolean).join(", "), side);
  const mark = layer ? view.marks.get(row.name) : view.markOf(-view.picked.block);
  if (mark) element("p", { class: "mark-" + mark }, mark === "renamed"
    ? "renamed: " + twinOf(row.name, view.number) : mark, side);
  const changes = layer && mark === "changed" ? DATA.differences[phase].changes[row.name] : {};
  for (const [what, pair] of Object.entries(changes)) pair.forEach((text, i) =>
    element("p", {}, "AB"[i] + " " + what + ": " + (Array.isArray(text) ? text.join(", ") : text), side));
  if (layer) {
    const k = row.kernel;
    list(side, [
      ...row.bottoms.map((b) => ["in: " + b.name, dims(b.shape)]), ...row.tops.map((b) => ["out: " + b.name, dims(b.shape)]),
      ...(k ? [["kernel (h×w)", dims(k.size)], ["stride", dims(k.stride)], ["pad", dims(k.pad)],
        ["dilation", dims(k.dilation)], ["group", exact(k.group)]] : []),
      ...row.params.map((p, i) => ["params " + i, dims(p.shape) + (p.learnable ? "" : ", fixed")
        + (p.shared_with ? ", of " + p.shared_with : "")]),
      ...(row.receptive_field ? [["receptive field", dims(row.receptive_field.size)]] : []),
    ]);
  }
  element("h3", {}, "Figures, per image", side);
  list(side, FIGURES.filter(([key]) => row[key] !== undefined).map(([key, text]) =>
    [text, exact(row[key]) + (net.totals[key] && row[key] ? " (" + percent(row[key] / net.totals[key]) + ")" : "")]));
  if (timeOf(row) !== null) {
    element("h3", {}, "Measured, whole batch", side);
    list(side, times(view, row));
  }
  showMemory(side, view, row);
  if (!layer) return;
  element("h3", {}, row.line ? "Prototxt, line " + row.line : "Prototxt", side);
  element("pre", { tabindex: 0, "aria-label": "Prototxt of the layer" }, row.prototxt, side);
  if (row.from) element("p", {}, "made in " + row.from + ", " + row.scope, side);
}

const perNumber = (net) => net.bytes + (net.bytes === 1 ? " byte" : " bytes") + " per number";
const MEMORY = [["input_bytes", "in"], ["output_bytes", "out"], ["weight_bytes", "weights"],
  ["working_bytes", "working set"], ["alive_bytes", "alive while it runs"]];

function showMemory(side, view, row) {
  const net = view.net, layer = view.picked.layer !== undefined;
  element("h3", {}, (layer ? "Memory" : "Memory of the layer with most") + ", whole batch, " + perNumber(net), side);
  list(side, MEMORY.filter(([key]) => row.memory[key] !== undefined).map(([key, text]) =>
    [text, (key === "alive_bytes" && !net.complete ? "≥ " : "") + exact(row.memory[key])]));
}

// What is alive while each layer runs, in the order of the net, with its peak named.
function showTimeline(side, view) {
  const net = view.net, alive = net.layers.map((row) => row.memory.alive_bytes);
  const most = Math.max(...alive), at = alive.indexOf(most);
  if (!most) return;
  element("h3", {}, "Memory alive, layer by layer", side);
  const [width, height] = [300, 80], x = (i) => i * width / alive.length, y = (n) => height - n / most * (height - 6);
  const said = (net.complete ? "" : "at least ") + mebibytes(most) + " at " + net.layers[at].name;
  const plot = shape("svg", { class: "timeline", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "Memory alive while each layer runs; the peak is " + said }, side);
  shape("path", { d: `M0,${height}` + alive.map((n, i) => `V${y(n).toFixed(1)}H${x(i + 1).toFixed(1)}`).join("")
    + `V${height}Z` }, plot);
  shape("circle", { cx: x(at + 0.5), cy: y(most), r: 3 }, plot);
  const layerAt = (event) => {
    const box = plot.getBoundingClientRect();
    return Math.min(alive.length - 1, Math.max(0, Math.floor((event.clientX - box.x) / box.width * alive.length)));
  };
  const under = shape("title", {}, plot);
  plot.addEventListener("pointermove", (event) => {
    const i = layerAt(event);
    under.textContent = net.layers[i].name + ": " + mebibytes(alive[i]);
  });
  plot.addEventListener("click", (event) => view.pick({ layer: layerAt(event) }, true));
  const sets = net.layers.map((row) => row.memory.working_bytes || 0), large = sets.indexOf(Math.max(...sets));
  for (const [text, i, size] of [["peak: ", at, said], ["largest working set: ", large,
    mebibytes(sets[large]) + " at " + net.layers[large].name]]) {
    const line = element("p", {}, text, side);
    element("button", { "data-peak": net.layers[i].name }, size, line)
      .addEventListener("click", (event) => { event.stopPropagation(); view.pick({ layer: i }, true); });
  }
}

function showTotals(side, view) {
  const net = view.net;
  element("h2", {}, DATA.nets[view.number].title, side);
  element("p", {}, net.name + ", " + net.phase + ", batch " + net.batch + ", " + net.layers.length + " layers", side);
  const found = DATA.differences && DATA.differences[phase];
  if (found) {
    element("p", {}, found.same ? "the nets are the same" : "weights of A " + (found.weights_fit ? "fit B" : "do not fit B"), side);
    for (const mark of ["added", "removed", "changed", "renamed"]) {
      const n = [...view.marks.values()].filter((word) => word === mark).length;
      if (n) element("p", { class: "mark-" + mark }, n + " " + mark, side);
    }
  }
  element("h3", {}, net.complete ? "Totals" : "Totals, at least", side);
  const made = element("dl", {}, undefined, side);
  for (const [key, value] of Object.entries(net.totals)) {
    const name = element("dt", {}, key.replaceAll("_", " "), made);
    element("br", {}, undefined, name);
    element("small", {}, CONVENTIONS[key] || "", name);
    element("dd", { "data-total": key }, exact(value), made);
  }
  element("p", {}, "Operations and activations are per image, bytes for the whole batch, at "
    + perNumber(net) + (net.bytes === 4 ? "." : ", but train bytes and caffe data bytes."), side);
  if (!net.complete) element("p", { class: "mark-changed" }, "Not counted are "
    + net.uncounted.map((layer) => layer.name).join(", "), side);
  showTimeline(side, view);
  if (timeOf(net.blocks[0]) !== null) {
    element("h3", {}, "Measured, whole batch", side);
    list(side, times(view, net.blocks[0]));
  }
}

// ---- the table ----------------------------------------------------------------------------------------

let tab = "layers", sort = { column: 0, down: false };
const views = [];
let active = null;
let tableOf = null;

function columns(view) {
  const net = view.net, timed = timeOf(net.blocks[0]) !== null;
  const part = (row, key) => figure(row, key) === null ? null : share(net, figure(row, key), key);
  return [
    ["#", (row, i) => i, exact],
    [tab === "layers" ? "layer" : "block", (row) => row.name, String],
    ["type", (row) => row.type || row.kind, String],
    ...(tab === "layers" ? [["window", (row) => row.words, String],
      ["out", (row) => row.tops.map((b) => dims(b.shape)).join(", "), String]]
      : [["layers", (row) => row.layers, exact]]),
    ["parameters", (row) => row.learnable_params, exact], ["MACs", (row) => row.macs, exact],
    ["% of MACs", (row) => part(row, "macs"), percent], ["operations", (row) => row.total_flops, exact],
    ["activations", (row) => row.activations, exact],
    ["working set", (row) => row.memory.working_bytes, exact],
    ["alive", (row) => row.memory.alive_bytes, (n) => (net.complete ? "" : "≥ ") + exact(n)],
    ...(timed ? [["ms", timeOf, milliseconds], ["% of time", (row) => part(row, "time"), percent],
      ["time : MACs", (row) => part(row, "macs") ? part(row, "time") / part(row, "macs") : null,
        (x) => x === null ? "" : x.toFixed(2)]] : []),
    ...(view.marks.size && tab === "layers" ? [["difference", (row) => view.marks.get(row.name) || "", String]] : []),
  ];
}

function showTable(again) {
  const view = active || views[0];
  if (!again && tableOf === view) return;
  tableOf = view;
  $("which").value = view.number;
  const all = columns(view), head = $("table").tHead, body = $("table").tBodies[0];
  head.replaceChildren();
  body.replaceChildren();
  const rows = (tab === "layers" ? view.net.layers : view.net.blocks).map((row, i) =>
    ({ i, cells: all.map(([, get]) => get(row, i)), row }));
  if (tab === "blocks") rows.shift();
  const numeric = all.map((_, c) => rows.some(({ cells }) => typeof cells[c] === "number"));
  const line = element("tr", {}, undefined, head);
  all.forEach(([title], c) => {
    const on = sort.column === c;
    const cell = element("th", { scope: "col", class: numeric[c] ? "number" : "",
      "aria-sort": on ? sort.down ? "descending" : "ascending" : "none" }, undefined, line);
    const button = element("button", {}, title + (on ? sort.down ? " ↓" : " ↑" : ""), cell);
    button.addEventListener("click", () => {
      sort = { column: c, down: on ? !sort.down : numeric[c] && c > 0 };
      showTable(true);
      $("table").tHead.rows[0].cells[c].firstChild.focus();
    });
  });
  const c = Math.min(sort.column, all.length - 1), way = sort.down ? -1 : 1;
  const low = (x) => x === null || x === undefined;
  rows.sort((a, b) => {
    const [x, y] = [a.cells[c], b.cells[c]];
    if (low(x) || low(y)) return low(x) - low(y);
    return way * (typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true })) || a.i - b.i;
  });
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = rows.filter(({ cells }) => {
    const text = cells.filter((cell) => typeof cell === "string").join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  $("rows").textContent = kept.length === rows.length ? rows.length + " rows" : kept.length + " of " + rows.length + " rows";
  for (const { i, cells } of kept) {
    const made = element("tr", { "data-row": i, tabindex: -1 }, undefined, body);
    cells.forEach((cell, n) => {
      const text = low(cell) ? all[n][0] === "time : MACs" ? "" : "?" : all[n][2](cell);
      const mark = all[n][0] === "difference" && cell ? " mark-" + cell : "";
      element("td", { class: (numeric[n] ? "number" : "") + mark, ...(n === 1 ? { title: text } : {}) }, text, made);
    });
  }
  if (body.rows.length) body.rows[0].tabIndex = 0;
  showRow();
}

function showRow() {
  const view = active || views[0];
  for (const row of $("table").querySelectorAll("[aria-selected]")) row.removeAttribute("aria-selected");
  if (!view.picked) return;
  const number = tab === "layers" ? view.picked.layer : view.picked.block;
  const row = number === undefined ? null : $("table").tBodies[0].querySelector(`[data-row="${number}"]`);
  if (!row) return;
  row.setAttribute("aria-selected", "true");
  const box = $("scroll");
  if (row.offsetTop < box.scrollTop + 26 || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
}

function pickRow(row) {
  const number = +row.dataset.row;
  (active || views[0]).pick(tab === "layers" ? { layer: number } : { block: number }, true);
}

// ---- the controls -------------------------------------------------------------------------------------

function find(text) {
  const view = active || views[0], wanted = text.toLowerCase();
  for (const found of document.querySelectorAll(".hit")) found.classList.remove("hit");
  if (!wanted) { $("found").textContent = ""; return; }
  const rows = view.net.layers.map((row, i) => [row, { layer: i }])
    .concat(view.net.blocks.slice(1).map((row, i) => [row, { block: i + 1 }]));
  const hits = rows.filter(([row]) => (row.name + " " + (row.type || row.kind)).toLowerCase().includes(wanted));
  const best = hits.find(([row]) => row.name.toLowerCase() === wanted) || hits[0];
  $("found").textContent = hits.length + " found";
  if (best) view.pick(best[1], true);
  for (const [, pick] of hits) {
    const node = view.nodes.get(String(view.refOf(pick)));
    if (node) node.node.classList.add("hit");
  }
}

function byAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1)), view = views[0];
  for (const name of wanted.getAll("open")) {
    const g = view.net.blocks.findIndex((block, i) => i && block.name === name);
    if (g > 0) { view.opened.add(g); view.draw(); view.pick({ block: g }, true); }
  }
  if (wanted.has("select")) {
    const i = view.net.layers.findIndex((layer) => layer.name === wanted.get("select"));
    if (i >= 0) view.pick({ layer: i }, true);
  }
}

function load() {
  active = views[0];
  for (const view of views) view.load();
  showSide(views[0]);
  showTable(true);
}

function start() {
  document.title = DATA.nets.map((net) => net.title).join(" and ") + " - netbuilder";
  $("title").textContent = DATA.nets.map((net) => net.title).join(" | ");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const phases = [...new Set(DATA.nets.flatMap((net) => Object.keys(net.phases)))];
  const isTimed = (name) =>
    DATA.nets.some((net) => net.phases[name] && timeOf(net.phases[name].blocks[0]) !== null);
  phase = phases.find(isTimed) || phases[0];
  for (const name of phases) element("option", { value: name }, name, $("phase"));
  $("phase").value = phase;
  $("phase").disabled = phases.length < 2;
  const timed = phases.some(isTimed);
  for (const [key, text] of COLOURS) if (key !== "time" || timed) element("option", { value: key }, text, $("colour"));
  if (timed) $("colour").value = colour = "time";
  DATA.nets.forEach((net, i) => {
    views.push(new View(i));
    element("option", { value: i }, "AB"[i] + ": " + net.title, $("which"));
  });
  $("which").hidden = DATA.nets.length < 2;
  const on = (id, kind, action) => $(id).addEventListener(kind, action);
  on("phase", "change", () => { phase = $("phase").value; load(); });
  on("colour", "change", () => { colour = $("colour").value; for (const view of views) view.draw(); });
  on("search", "change", () => find($("search").value));
  on("search", "keydown", (event) => { if (event.key === "Enter") find($("search").value); });
  on("filter", "input", () => showTable(true));
  on("which", "change", () => { active = views[+$("which").value]; showTable(true); showSide(active); });
  on("open", "click", () => { for (const view of views) { view.openMore(); view.draw(); view.fit(); } });
  on("close", "click", () => { for (const view of views) { view.opened.clear(); view.draw(); view.fit(); } });
  on("in", "click", () => views.forEach((view) => view.zoom(1.3)));
  on("out", "click", () => views.forEach((view) => view.zoom(1 / 1.3)));
  on("fit", "click", () => views.forEach((view) => view.fit()));
  on("theme", "click", () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  });
  for (const name of ["layers", "blocks"]) on("tab-" + name, "click", () => {
    tab = name;
    sort = { column: 0, down: false };
    for (const other of ["layers", "blocks"]) $("tab-" + other).setAttribute("aria-pressed", String(other === tab));
    showTable(true);
  });
  const body = $("table").tBodies[0];
  body.addEventListener("click", (event) => { const row = event.target.closest("tr"); if (row) pickRow(row); });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const next = event.key === "ArrowDown" ? row.nextSibling : event.key === "ArrowUp" ? row.previousSibling : null;
    if (event.key === "Enter") pickRow(row);
    else if (next) { row.tabIndex = -1; next.tabIndex = 0; next.focus(); } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    if (event.key === "/") { $("search").focus(); event.preventDefault(); }
    if (event.key === "0") views.forEach((view) => view.fit());
    if (event.key === "+") views.forEach((view) => view.zoom(1.3));
    if (event.key === "-") views.forEach((view) => view.zoom(1 / 1.3));
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("svg") || views.some((view) => view.dragged)) return;
    for (const view of views) { view.picked = null; view.showPick(); }
    showSide(active || views[0]);
    showRow();
  });
  window.addEventListener("hashchange", byAddress);
  load();
  byAddress();
}

start();
