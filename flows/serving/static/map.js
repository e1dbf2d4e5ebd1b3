"use strict";
// The map: a point for each published photo, one colour per label, and a mark for the photo that was shown.

class PhotoMap {
  constructor(canvas, tip) {
    this.canvas = canvas;
    this.tip = tip;
    this.points = null;
    this.mark = null;
    this.near = new Set();
    this.under = -1;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerdown", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => this.leave());
  }

  show(points) {
    this.points = points;
    this.draw();
  }

  place(mark, rows) {
    this.mark = mark;
    this.near = new Set(rows);
    this.draw();
  }

  colour(label, dark) {
    // The golden angle keeps neighbours in the list apart; three lightnesses tell more of 131 labels from each other.
    const lightness = (dark ? [62, 74, 52] : [46, 34, 60])[label % 3];
    return `hsl(${(label * 137.508) % 360} 62% ${lightness}%)`;
  }

  layout() {
    const { x, y } = this.points;
    const extremes = (values, extra) => {
      let low = Infinity, high = -Infinity;
      for (const value of extra === undefined ? values : [...values, extra]) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      return [low, high - low || 1];
    };
    const [left, width] = extremes(x, this.mark?.x);
    const [bottom, height] = extremes(y, this.mark?.y);
    const box = this.canvas.getBoundingClientRect();
    const margin = 18;
    this.box = box;
    this.at = (px, py) => [
      margin + ((px - left) / width) * (box.width - 2 * margin),
      box.height - margin - ((py - bottom) / height) * (box.height - 2 * margin),
    ];
  }

  draw() {
    if (!this.points || !this.canvas.clientWidth) return;
    this.layout();
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.box.width * scale);
    this.canvas.height = Math.round(this.box.height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const ink = getComputedStyle(document.body).color;
    const { x, y, label, row } = this.points;
    const radius = x.length > 1500 ? 2.4 : 3.6;
    for (let i = 0; i < x.length; i++) {
      const [px, py] = this.at(x[i], y[i]);
      pen.globalAlpha = this.mark ? 0.5 : 0.8;
      pen.fillStyle = this.colour(label[i], dark);
      pen.beginPath();
      pen.arc(px, py, radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    for (let i = 0; i < x.length; i++) {
      if (!this.near.has(row[i]) && i !== this.under) continue;
      const [px, py] = this.at(x[i], y[i]);
      pen.fillStyle = this.colour(label[i], dark);
      pen.strokeStyle = ink;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(px, py, radius + 2.5, 0, 7);
      pen.fill();
      pen.stroke();
    }
    if (this.mark) {
      const [px, py] = this.at(this.mark.x, this.mark.y);
      pen.strokeStyle = ink;
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.arc(px, py, 13, 0, 7);
      pen.stroke();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.beginPath();
        pen.moveTo(px + dx * 9, py + dy * 9);
        pen.lineTo(px + dx * 20, py + dy * 20);
        pen.stroke();
      }
    }
  }

  hover(event) {
    if (!this.points || !this.at) return;
    const box = this.canvas.getBoundingClientRect();
    const hx = event.clientX - box.left, hy = event.clientY - box.top;
    let best = -1, least = 14 * 14;
    for (let i = 0; i < this.points.x.length; i++) {
      const [px, py] = this.at(this.points.x[i], this.points.y[i]);
      const square = (px - hx) ** 2 + (py - hy) ** 2;
      if (square < least) [best, least] = [i, square];
    }
    if (best === this.under) return;
    this.under = best;
    this.draw();
    if (best < 0) return this.leave();
    const [px, py] = this.at(this.points.x[best], this.points.y[best]);
    this.tip.hidden = false;
    this.tip.querySelector("img").src = `api/photos/${this.points.row[best]}?version=${this.points.version}`;
    this.tip.querySelector("span").textContent = this.points.labels[this.points.label[best]] || "no label";
    this.tip.style.left = `${Math.max(0, Math.min(px + 14, box.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${Math.max(0, Math.min(py + 14, box.height - this.tip.offsetHeight))}px`;
  }

  leave() {
    this.tip.hidden = true;
    if (this.under < 0) return;
    this.under = -1;
    this.draw();
  }
}
