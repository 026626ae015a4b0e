"use strict";
// A place to draw. What is drawn is cut out, scaled and centred as `predict` does it (search/net/pictures.py).
const BOX = 20, FAINTEST = 24, INK = 0.2, BORDER = 0.06;

/** A digit as the network sees it, 28 x 28, or null where nothing is drawn. `grey`: brightness from 0 to 255. */
function cutOut(grey, width, height) {
  const rim = Math.max(1, Math.round(BORDER * Math.min(width, height))), around = [];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++)
    if (y < rim || x < rim || y >= height - rim || x >= width - rim) around.push(grey[y * width + x]);
  const ground = around.sort((a, b) => a - b)[around.length >> 1];
  const ink = Float64Array.from(grey, (value) => Math.abs(value - ground));
  const strongest = ink.reduce((most, value) => Math.max(most, value), 0);
  if (strongest < FAINTEST) return null;
  let top = height, bottom = 0, left = width, right = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (ink[y * width + x] >= INK * strongest) {
    top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
    left = Math.min(left, x); right = Math.max(right, x + 1);
  }
  const scale = BOX / Math.max(bottom - top, right - left);
  const high = Math.max(1, Math.round(scale * (bottom - top))), wide = Math.max(1, Math.round(scale * (right - left)));
  const digit = new Float64Array(high * wide);
  for (let row = 0; row < high; row++) for (let column = 0; column < wide; column++) {  // the mean of each area
    const [y0, y1] = [row, row + 1].map((edge) => top + (edge * (bottom - top)) / high);
    const [x0, x1] = [column, column + 1].map((edge) => left + (edge * (right - left)) / wide);
    let sum = 0;
    for (let y = Math.floor(y0); y < Math.ceil(y1); y++) for (let x = Math.floor(x0); x < Math.ceil(x1); x++)
      sum += ink[y * width + x] * (Math.min(y + 1, y1) - Math.max(y, y0)) * (Math.min(x + 1, x1) - Math.max(x, x0));
    digit[row * wide + column] = sum / ((y1 - y0) * (x1 - x0));
  }
  const brightest = digit.reduce((most, value) => Math.max(most, value), 1);
  let mass = 0, down = 0, across = 0;
  digit.forEach((value, place) => {
    mass += value; down += value * Math.floor(place / wide); across += value * (place % wide);
  });
  const begin = (centre, size) => Math.min(Math.max(0, Math.round(13.5 - centre / mass)), 28 - size);
  const first = begin(down, high), start = begin(across, wide), centred = new Uint8Array(28 * 28);
  digit.forEach((value, place) => {
    centred[(first + Math.floor(place / wide)) * 28 + start + (place % wide)] = Math.round((255 * value) / brightest);
  });
  return centred;
}

(() => {
  const canvas = document.getElementById("canvas"), seen = document.getElementById("seen");
  const answer = document.getElementById("answer"), bars = document.getElementById("bars");
  const pen = canvas.getContext("2d", { willReadFrequently: true }), small = seen.getContext("2d");
  function clear() {
    pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
    small.fillStyle = "#000"; small.fillRect(0, 0, 28, 28);
    answer.textContent = "Draw a digit.";
    bars.replaceChildren();
  }
  function look() {
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    const grey = Float64Array.from({ length: data.length / 4 }, (_, place) => data[4 * place]);
    const digit = cutOut(grey, canvas.width, canvas.height);
    if (!digit) return;
    const shown = small.createImageData(28, 28);
    digit.forEach((value, place) => shown.data.set([value, value, value, 255], 4 * place));
    small.putImageData(shown, 0, 0);
    const found = network.classify(digit), best = found.indexOf(Math.max(...found));
    answer.textContent = `It is a ${best} (${(100 * found[best]).toFixed(1)} %).`;
    bars.replaceChildren(...found.map((share, value) => {
      const bar = document.createElement("li");
      bar.textContent = `${value}: ${(100 * share).toFixed(1)} %`;
      bar.style.setProperty("--share", `${100 * share}%`);
      return bar;
    }));
  }
  let last = null;
  const place = (event) => {
    const frame = canvas.getBoundingClientRect(), ratio = canvas.width / frame.width;
    return [(event.clientX - frame.left) * ratio, (event.clientY - frame.top) * ratio];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId); last = place(event); draw(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (last) draw(event); });
  canvas.addEventListener("pointerup", () => { last = null; look(); });
  canvas.addEventListener("pointercancel", () => { last = null; });
  function draw(event) {
    const now = place(event);
    pen.strokeStyle = "#000"; pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round";
    pen.beginPath(); pen.moveTo(...last); pen.lineTo(...now); pen.stroke();
    last = now;
  }
  document.getElementById("clear").addEventListener("click", clear);
  clear();
})();
