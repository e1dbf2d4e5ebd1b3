"use strict";
// Photos go to the server as they are, a few at a time; what comes back is shown as text and pictures, never as markup.

const $ = (id) => document.getElementById(id);
const AT_ONCE = 4;
const TRIES = 4;
const NEIGHBOURS = 10;

const map = new PhotoMap($("map"), $("tip"));
const photos = []; // {file, url, item, answer, fault}
const queue = [];
let running = 0;
let shown = null;
let stream = null;
let limit = Infinity;
let version = null;

async function json(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached. Is it still running?");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const error = new Error(sentence(body?.error?.message || `The server answered ${response.status}.`));
  error.again = response.status === 429 || response.status === 503 ? Number(response.headers.get("Retry-After")) || 2 : 0;
  throw error;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function add(files) {
  for (const file of files) {
    const photo = { file, url: URL.createObjectURL(file), answer: null, fault: "" };
    photos.push(photo);
    const button = document.createElement("button");
    button.type = "button";
    const image = document.createElement("img");
    image.alt = "";
    image.src = photo.url;
    image.addEventListener("error", () => image.remove());
    button.append(image);
    button.addEventListener("click", () => show(photo));
    photo.button = button;
    photo.item = document.createElement("li");
    photo.item.append(button);
    $("history").prepend(photo.item);
    name(photo, "being looked at");
    queue.push(photo);
  }
  if (files.length) show(photos.at(-1));
  next();
}

function name(photo, what) {
  photo.button.setAttribute("aria-label", `${photo.file.name || "Photo"}: ${what}`);
  photo.button.title = what;
}

function next() {
  while (running < AT_ONCE && queue.length) {
    running++;
    ask(queue.shift()).finally(() => {
      running--;
      next();
    });
  }
}

async function ask(photo) {
  try {
    if (photo.file.size > limit)
      throw new Error(`This file has ${megabytes(photo.file.size)}, and photos of up to ${megabytes(limit)} are taken.`);
    for (let attempt = 1; ; attempt++) {
      const form = new FormData();
      form.append("photo", photo.file);
      try {
        photo.answer = await json(`api/similar?k=${NEIGHBOURS}`, { method: "POST", body: form });
        // Where it cannot be had now, the answer is shown without a place on the map.
        if (photo.answer.version !== version) await refresh().catch(() => null);
        break;
      } catch (error) {
        if (!error.again || attempt === TRIES) throw error;
        await pause(error.again);
      }
    }
    name(photo, photo.answer.vote ? photo.answer.vote.label : "no label");
  } catch (error) {
    photo.fault = error.message;
    photo.item.classList.add("failed");
    name(photo, error.message);
  }
  if (photo !== shown) return;
  show(photo);
  // On a phone the answer is below the photo.
  if (innerWidth <= 760) $("answer").scrollIntoView({ block: "start", behavior: "smooth" });
}

function show(photo) {
  shown = photo;
  closeCamera();
  for (const each of photos) each.button.setAttribute("aria-current", String(each === photo));
  $("invitation").hidden = true;
  $("stage").classList.add("filled");
  const preview = $("preview");
  preview.hidden = false;
  preview.src = photo.url;
  preview.onerror = () => { preview.hidden = true; };
  const waiting = !photo.answer && !photo.fault;
  $("scan").hidden = !waiting;
  $("answer").setAttribute("aria-busy", String(waiting));
  $("nothing").hidden = !waiting;
  $("nothing").firstElementChild.textContent = "Looking …";
  $("fault").hidden = !photo.fault;
  $("fault").textContent = photo.fault;
  $("result").hidden = !photo.answer;
  if (photo.answer) answer(photo.answer);
  else map.place(null, []);
}

function answer({ version: answered, vote, neighbours, place }) {
  const votes = vote ? Math.round(vote.share * neighbours.length) : 0;
  $("lead").textContent = vote ? (vote.share > 0.5 ? "It looks like" : "It could be") : "These are like it";
  $("name").textContent = vote ? vote.label : "No labels here";
  $("share").hidden = !vote;
  if (vote) {
    $("percent").textContent = `${Math.round(vote.share * 100)} %`;
    $("arc").style.strokeDasharray = `${vote.share * 100} 100`;
    $("sentence").textContent = `${votes} of the ${neighbours.length} nearest photos say so.`;
  } else {
    $("sentence").textContent = "The photos of this collection lie in no folders of classes.";
  }
  $("neighbours").replaceChildren(
    ...neighbours.map((neighbour) => {
      const item = document.createElement("li");
      const image = document.createElement("img");
      image.loading = "lazy";
      image.src = neighbour.photo;
      image.alt = neighbour.label || neighbour.name;
      const label = document.createElement("p");
      label.textContent = neighbour.label || neighbour.name;
      const distance = document.createElement("p");
      distance.className = "quiet";
      distance.textContent = `distance ${neighbour.distance.toFixed(1)}`;
      item.title = neighbour.name;
      item.append(image, label, distance);
      return item;
    }),
  );
  // An answer from what was published before has no place among what is there now.
  const placed = answered === version;
  map.place(placed ? place : null, placed ? neighbours.map((neighbour) => neighbour.row) : []);
  const among = vote ? `among photos of ${vote.label}` : "marked";
  $("map").setAttribute("aria-label", `Map of the photos; yours lies ${among}`);
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("native-camera").click();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
  } catch (error) {
    if (error.name === "NotAllowedError") {
      $("nothing").hidden = true;
      $("result").hidden = true;
      $("fault").hidden = false;
      $("fault").textContent = "The browser does not allow the camera. Allow it, or choose a photo.";
      return;
    }
    return $("native-camera").click();
  }
  $("preview").hidden = $("invitation").hidden = true;
  $("camera").hidden = $("stop").hidden = false;
  $("stage").classList.add("filled");
  $("take").textContent = "Take it";
  $("camera").srcObject = stream;
  await $("camera").play();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera").hidden = $("stop").hidden = true;
  $("camera").srcObject = null;
  $("take").textContent = "Take a photo";
  if (shown) $("preview").hidden = false;
  else {
    $("invitation").hidden = false;
    $("stage").classList.remove("filled");
  }
}

function shoot() {
  const video = $("camera");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => blob && add([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
}

$("take").addEventListener("click", () => (stream ? shoot() : openCamera()));
$("stop").addEventListener("click", closeCamera);
$("choose").addEventListener("click", () => $("files").click());
for (const id of ["files", "native-camera"])
  $(id).addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
addEventListener("dragleave", () => $("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  add([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => add([...event.clipboardData.files]));

// What is served: at the start, and when an answer is from what was published since.
async function refresh() {
  const [facts, points] = await Promise.all([json("api/collection"), json("api/map")]);
  const number = (value) => value.toLocaleString("en");
  limit = facts.max_upload;
  version = points.version;
  $("facts").textContent = `${number(facts.photos)} photos of ${number(facts.labels)} classes · ${facts.network}`;
  $("untrained").hidden = facts.trained;
  $("map-kind").textContent = `${points.kind}, ${number(points.x.length)} photos`;
  map.show(points);
}

refresh();
