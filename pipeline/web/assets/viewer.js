// Zoom, rotation, and arrow keys for turning pages. Without this script, links turn pages and the image can be opened alone.
"use strict";

const STEPS = [1, 1.5, 2, 3, 4, 6, 8];
const INSPECT = 3;
const sheet = document.querySelector("[data-zoom]");
const around = sheet?.querySelector(".rotated");
const picture = sheet?.querySelector("img");
const controls = document.querySelector(".zoom");
let factor = 1, angle = 0;

// Zoom around a point of the window, which keeps its position. The default is the middle of the sheet.
function zoom(to, x, y) {
  const frame = sheet.getBoundingClientRect();
  x ??= frame.left + frame.width / 2;
  y ??= frame.top + frame.height / 2;
  const before = picture.getBoundingClientRect();
  const across = (x - before.left) / before.width, down = (y - before.top) / before.height;
  factor = Math.min(Math.max(to, STEPS[0]), STEPS.at(-1));
  layOut();
  const after = picture.getBoundingClientRect();
  sheet.scrollLeft += after.left + across * after.width - x;
  sheet.scrollTop += after.top + down * after.height - y;
  controls.querySelector("output").textContent = `${Math.round(factor * 100)} %`;
}

// Give the image its size. A rotation does not change the box of an element, so a frame of the rotated size is around it.
function layOut() {
  sheet.classList.remove("enlarged", "sideways");
  picture.style.width = around.style.width = around.style.height = "";
  picture.style.rotate = angle ? `${angle}deg` : "";
  const sideways = angle % 180 !== 0;
  const fitted = sideways ? fittedSideways() : picture.offsetWidth;
  sheet.classList.toggle("enlarged", factor > 1);
  sheet.classList.toggle("sideways", sideways);
  if (factor > 1 || sideways) picture.style.width = `${fitted * factor}px`;
  if (sideways) {
    around.style.width = `${fitted * factor * picture.getAttribute("height") / picture.getAttribute("width")}px`;
    around.style.height = `${fitted * factor}px`;
  }
}

// Width, before the rotation, of an image that fits after a quarter turn. It is not larger than its pixels.
function fittedSideways() {
  const style = getComputedStyle(sheet);
  const width = picture.getAttribute("width"), height = picture.getAttribute("height");
  const across = sheet.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const outer = parseFloat(style.maxHeight) || sheet.clientHeight;  // a phone has a maximum height only
  const down = outer - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  return width * Math.min(1, across / height, down / width);
}

function rotate(to) {
  angle = (to + 360) % 360;
  zoom(factor);
}

// The address keeps the angle, so that a link shows the page as its sender saw it.
function turn(by) {
  rotate(angle + by);
  history.replaceState(null, "", location.pathname + location.search + (angle ? `#rotate=${angle}` : ""));
}

function rotateByAddress() {
  const named = /^#rotate=(90|180|270)$/.exec(location.hash);
  if (named) rotate(Number(named[1]));
}

function step(by) {
  if (by === 0) return zoom(1);
  const next = by > 0 ? STEPS.find(size => size > factor + 0.01) : STEPS.findLast(size => size < factor - 0.01);
  if (next) zoom(next);
}

function drag(event) {
  if (event.pointerType !== "mouse" || event.button !== 0 || factor === 1) return;
  sheet.setPointerCapture(event.pointerId);
  sheet.classList.add("dragged");
  const move = moved => sheet.scrollBy(-moved.movementX, -moved.movementY);
  const end = () => {
    sheet.removeEventListener("pointermove", move);
    sheet.classList.remove("dragged");
  };
  sheet.addEventListener("pointermove", move);
  sheet.addEventListener("lostpointercapture", end, {once: true});
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
  const scrolls = factor > 1 && sheet.contains(document.activeElement);
  switch (event.key) {
    case "ArrowLeft":
      if (!scrolls && !event.shiftKey) document.querySelector("a[rel=prev]")?.click();
      break;
    case "ArrowRight":
      if (!scrolls && !event.shiftKey) document.querySelector("a[rel=next]")?.click();
      break;
    case "+": case "=":
      if (sheet) step(1);
      break;
    case "-":
      if (sheet) step(-1);
      break;
    case "0":
      if (sheet) step(0);
      break;
    case "r":
      if (sheet) turn(90);
      break;
    case "R":
      if (sheet) turn(-90);
      break;
  }
}

if (sheet) {
  controls.hidden = document.querySelector(".hint").hidden = false;
  controls.addEventListener("click", event => {
    const button = event.target.closest("[data-step]");
    if (button) step(Number(button.dataset.step));
    if (event.target.closest("[data-turn]")) turn(90);
  });
  sheet.addEventListener("dblclick", event => zoom(factor > 1 ? 1 : INSPECT, event.clientX, event.clientY));
  sheet.addEventListener("pointerdown", drag);
  sheet.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(factor * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  }, {passive: false});
  window.addEventListener("resize", () => zoom(factor));
  window.addEventListener("hashchange", rotateByAddress);
  rotateByAddress();
}
document.addEventListener("keydown", onKey);

const current = document.querySelector(".strip [aria-current]");
if (current) {
  const list = current.closest("ol"), frame = list.getBoundingClientRect(), place = current.getBoundingClientRect();
  list.scrollLeft += place.left + place.width / 2 - frame.left - frame.width / 2;
}
