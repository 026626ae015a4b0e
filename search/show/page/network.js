"use strict";
// The network, in the browser. An image is {channels, side, data}: channel by channel, row by row.
const network = (() => {
  const { steps, numbers, mean, std, crops, cropSide } = PROGRAM;
  const bytes = Uint8Array.from(atob(numbers), (letter) => letter.charCodeAt(0));
  const all = new Float32Array(bytes.buffer);
  const image = (channels, side) => ({ channels, side, data: new Float32Array(channels * side * side) });

  function convolve(given, step, take) {
    const weights = take((step.out * step.in * step.side ** 2) / step.groups);
    const bias = step.bias ? take(step.out) : null;
    const side = given.side + 2 * step.padding - step.side + 1;
    const made = image(step.out, side);
    const perGroup = step.in / step.groups;
    for (let out = 0; out < step.out; out++) {
      const first = Math.floor(out / (step.out / step.groups)) * perGroup;
      for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
        let sum = bias ? bias[out] : 0;
        for (let channel = 0; channel < perGroup; channel++) for (let down = 0; down < step.side; down++) {
          const y = row + down - step.padding;
          if (y < 0 || y >= given.side) continue;
          for (let right = 0; right < step.side; right++) {
            const x = column + right - step.padding;
            if (x < 0 || x >= given.side) continue;
            sum += weights[((out * perGroup + channel) * step.side + down) * step.side + right]
              * given.data[((first + channel) * given.side + y) * given.side + x];
          }
        }
        made.data[(out * side + row) * side + column] = sum;
      }
    }
    return made;
  }

  function pool(given) {
    const made = image(given.channels, Math.floor(given.side / 2));
    made.data.fill(-Infinity);
    for (let channel = 0; channel < given.channels; channel++)
      for (let row = 0; row < 2 * made.side; row++) for (let column = 0; column < 2 * made.side; column++) {
        const place = (channel * made.side + (row >> 1)) * made.side + (column >> 1);
        const value = given.data[(channel * given.side + row) * given.side + column];
        if (value > made.data[place]) made.data[place] = value;
      }
    return made;
  }

  function run(given) {
    let at = 0, now = given;
    const take = (count) => all.subarray(at, (at += count));
    const kept = [];
    for (const step of steps) {
      const pixels = now.side ** 2;
      if (step.do === "convolve") now = convolve(now, step, take);
      else if (step.do === "pool") now = pool(now);
      else if (step.do === "relu") now = { ...now, data: now.data.map((value) => Math.max(0, value)) };
      else if (step.do === "keep") kept.push(now);
      else if (step.do === "add") {
        const before = kept.pop().data;
        now = { ...now, data: now.data.map((value, place) => value + (place < before.length ? before[place] : 0)) };
      } else if (step.do === "scale") {
        const scale = take(step.channels), shift = take(step.channels);
        now = { ...now, data: now.data.map((value, place) => {
          const channel = Math.floor(place / pixels);
          return value * scale[channel] + shift[channel];
        }) };
      } else {
        const matrix = take(step.in * step.out), bias = take(step.out);
        const means = Array.from({ length: step.in }, (_, channel) =>
          now.data.subarray(channel * pixels, (channel + 1) * pixels).reduce((sum, value) => sum + value, 0) / pixels);
        return Array.from(bias, (value, out) =>
          means.reduce((sum, found, channel) => sum + found * matrix[out * step.in + channel], value));
      }
    }
  }

  // As PyTorch's bilinear interpolation: between the centres of pixels.
  function resize(given, side) {
    if (side === given.side) return given;
    const made = image(1, side), ratio = given.side / side;
    const place = (index) => {
      const exact = Math.max(0, (index + 0.5) * ratio - 0.5);
      const low = Math.min(Math.floor(exact), given.side - 1);
      return [low, Math.min(low + 1, given.side - 1), exact - low];
    };
    for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
      const [top, bottom, down] = place(row), [left, right, across] = place(column);
      const pixel = (y, x) => given.data[y * given.side + x];
      made.data[row * side + column] =
        (1 - down) * ((1 - across) * pixel(top, left) + across * pixel(top, right))
        + down * ((1 - across) * pixel(bottom, left) + across * pixel(bottom, right));
    }
    return made;
  }

  function crop(given, down, right) {
    const made = image(1, cropSide), begin = (given.side - cropSide) >> 1;
    for (let row = 0; row < cropSide; row++) for (let column = 0; column < cropSide; column++)
      made.data[row * cropSide + column] = given.data[(begin + down + row) * given.side + begin + right + column];
    return made;
  }

  /** The probability of each digit. `pixels`: 28 x 28, from 0, the ground, to 255. */
  function classify(pixels) {
    const whole = image(1, 28);
    whole.data.set(Array.from(pixels, (value) => (value / 255 - mean) / std));
    const logits = new Array(10).fill(0);
    for (const [side, down, right] of crops)
      run(crop(resize(whole, side), down, right)).forEach((value, digit) => { logits[digit] += value / crops.length; });
    const highest = Math.max(...logits);
    const powers = logits.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((total, value) => total + value, 0);
    return powers.map((value) => value / sum);
  }
  return { classify };
})();
