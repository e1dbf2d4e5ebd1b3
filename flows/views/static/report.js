// What the report's page does: maps with hover, search and neighbours, and charts. Texts are only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const mapped = data.components.length;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const TILE = 64;
  const nameOf = (photo) => data.labels[data.label[photo]] || "no class";
  const fileOf = (photo) => data.path[photo].split("/").pop();
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const short = (text) => (text.length > 34 ? `${text.slice(0, 16)}…${text.slice(-16)}` : text);

  // Neighbours in the alphabet (Apple 1, Apple 2) differ in hue by the golden angle, and in lightness.
  const colour = (label) => {
    if (data.labels.length < 2) return tone("leaf");
    const light = (dark.matches ? [62, 74, 52] : [40, 52, 30])[label % 3];
    return `hsl(${(label * 137.508) % 360} 65% ${light}%)`;
  };

  // -- small pictures ------------------------------------------------------------------------------------------------
  function paint(tile, photo) {
    tile.style.backgroundSize = `${data.columns * TILE}px auto`;
    tile.style.backgroundPosition = `-${(photo % data.columns) * TILE}px -${Math.floor(photo / data.columns) * TILE}px`;
  }

  function element(kind, name, text) {
    const made = document.createElement(kind);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function photoButton(photo, name) {
    const button = element("button", `photo ${name || ""}`.trim());
    button.type = "button";
    button.dataset.photo = photo;
    const tile = element("span", data.readable[photo] ? "tile" : "tile gone", data.readable[photo] ? "" : "no longer readable");
    if (data.readable[photo]) paint(tile, photo);
    const label = element("span", "label", short(nameOf(photo)));
    label.title = nameOf(photo);
    button.append(tile, label);
    return button;
  }

  document.querySelectorAll("[data-tile]").forEach((tile) => paint(tile, Number(tile.dataset.tile)));
  document.querySelectorAll(".photo > .label").forEach((label) => { label.textContent = short(label.textContent); });

  // -- hover and choice ----------------------------------------------------------------------------------------------
  const hover = document.getElementById("hover");
  const chosenCard = document.getElementById("chosen");
  let chosen = -1;

  function showHover(photo, x, y) {
    if (photo < 0) {
      hover.hidden = true;
      return;
    }
    const [tile, label, file] = hover.children;
    tile.hidden = !data.readable[photo];
    paint(tile, photo);
    label.textContent = nameOf(photo);
    file.textContent = fileOf(photo);
    hover.hidden = false;
    const box = hover.getBoundingClientRect();
    hover.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    hover.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - box.height - 8))}px`;
  }

  function choose(photo) {
    chosen = photo;
    chosenCard.replaceChildren();
    const title = element("h3", "", photo < 0 ? "No image chosen" : nameOf(photo));
    chosenCard.append(title);
    if (photo < 0) {
      chosenCard.append(element("p", "small", "Choose a dot: its nearest neighbours appear here."));
    } else {
      chosenCard.append(element("p", "path", data.path[photo]));
      const row = element("div", "row");
      row.append(photoButton(photo));
      chosenCard.append(row);
      const near = photo < mapped ? data.neighbours[photo] : [];
      if (near.length) {
        chosenCard.append(element("p", "small", `Nearest among the ${mapped.toLocaleString("en")} images on the map:`));
        const line = element("div", "row");
        const labelled = data.labels.length > 1;
        near.forEach((other) => {
          const same = data.label[other] === data.label[photo];
          line.append(photoButton(other, labelled ? (same ? "same" : "other") : ""));
        });
        chosenCard.append(line);
      }
    }
    maps.forEach((map) => map.update("none"));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".photo");
    if (!button) return;
    choose(Number(button.dataset.photo));
    if (!chosenCard.contains(button)) chosenCard.scrollIntoView({ block: "nearest" });
  });

  // -- classes -------------------------------------------------------------------------------------------------------
  const counts = data.labels.map(() => 0);
  for (let photo = 0; photo < mapped; photo++) counts[data.label[photo]]++;
  const picked = new Set();
  let found = null;
  const shown = (label) => (picked.size ? picked.has(label) : !found || found.has(label));

  const legend = document.getElementById("legend");
  const search = document.getElementById("search");
  const entries = data.labels.map((name, label) => {
    const entry = element("li");
    const button = element("button");
    button.type = "button";
    button.title = name || "no class";
    button.setAttribute("aria-pressed", "false");
    const dot = element("i");
    button.append(dot, element("span", "name", short(name || "no class")), element("span", "count", counts[label].toLocaleString("en")));
    button.addEventListener("click", () => {
      if (!picked.delete(label)) picked.add(label);
      button.setAttribute("aria-pressed", String(picked.has(label)));
      filtered();
    });
    entry.append(button);
    legend.append(entry);
    return { entry, dot, name: name.toLowerCase() };
  });

  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    found = text ? new Set(entries.flatMap((each, label) => (each.name.includes(text) ? [label] : []))) : null;
    entries.forEach((each, label) => { each.entry.hidden = !!found && !found.has(label) && !picked.has(label); });
    filtered();
  });

  function filtered() {
    const classes = data.labels.filter((_, label) => shown(label) && counts[label]).length;
    let images = 0;
    counts.forEach((count, label) => { if (shown(label)) images += count; });
    const all = classes === counts.filter(Boolean).length;
    document.getElementById("shown").textContent = all
      ? `${classes} classes. Choose some, or search.`
      : `${classes} of ${counts.filter(Boolean).length} classes, ${images.toLocaleString("en")} images`;
    maps.forEach((map) => map.recolour());
  }

  // -- maps ----------------------------------------------------------------------------------------------------------
  const maps = [];
  Chart.defaults.font.family = "system-ui, sans-serif";
  Chart.defaults.font.size = 12;
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;

  function axis(title, more) {
    return Object.assign({
      title: { display: !!title, text: title, color: tone("soft") },
      ticks: { color: tone("soft"), maxRotation: 0 },
      grid: { color: tone("grid") },
      border: { color: tone("line") },
    }, more);
  }

  document.querySelectorAll("[data-map]").forEach((plot) => {
    const places = data[plot.dataset.map];
    const kind = plot.dataset.map;
    const points = places.map(([x, y], photo) => ({ x, y, photo }));
    const size = mapped > 600 ? 3 : 4;
    const dots = {
      data: points,
      pointRadius: (at) => (at.raw && at.raw.photo === chosen ? size + 6 : shown(data.label[at.dataIndex]) ? size : 1.5),
      pointHoverRadius: size + 4,
      pointHitRadius: 6,
      pointStyle: (at) => (at.raw && at.raw.photo === chosen ? "rectRot" : "circle"),
      pointBorderColor: (at) => (at.raw && at.raw.photo === chosen ? tone("ink") : "transparent"),
      pointBorderWidth: 2,
    };
    const titles = kind === "components" ? ["component 1", "component 2"] : ["", ""];
    const chart = new Chart(plot.querySelector("canvas"), {
      type: "scatter",
      data: { datasets: [dots] },
      options: {
        plugins: { legend: { display: false }, tooltip: { enabled: false } },
        scales: { x: {}, y: {} },
        onHover: (event, hits) => {
          const hit = hits.find((each) => shown(data.label[each.index]));
          plot.style.cursor = hit ? "pointer" : "default";
          showHover(hit ? hit.index : -1, event.native.clientX, event.native.clientY);
        },
        onClick: (_, hits) => {
          const hit = hits.find((each) => shown(data.label[each.index]));
          if (hit) choose(hit.index);
        },
      },
    });
    chart.recolour = () => {
      dots.pointBackgroundColor = places.map((_, photo) =>
        shown(data.label[photo]) ? colour(data.label[photo]) : `color-mix(in srgb, ${tone("soft")} 30%, transparent)`);
      const bare = kind === "plane" ? { ticks: { display: false } } : {};
      chart.options.scales.x = axis(titles[0], bare);
      chart.options.scales.y = axis(titles[1], bare);
      chart.update("none");
    };
    plot.addEventListener("mouseleave", () => showHover(-1));
    plot.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      choose(beside(places, chosen < 0 || chosen >= mapped ? -1 : chosen, way));
    });
    plot.querySelector("canvas").setAttribute("aria-hidden", "true");
    maps.push(chart);
  });

  // The nearest shown dot in a direction; what lies aside counts twice.
  function beside(places, from, [right, up]) {
    const spread = [0, 1].map((side) => Math.max(...places.map((place) => place[side])) - Math.min(...places.map((place) => place[side])) || 1);
    let best = from < 0 ? places.findIndex((_, photo) => shown(data.label[photo])) : from;
    let least = Infinity;
    if (from < 0) return best;
    places.forEach((place, photo) => {
      if (photo === from || !shown(data.label[photo])) return;
      const x = (place[0] - places[from][0]) / spread[0];
      const y = (place[1] - places[from][1]) / spread[1];
      const ahead = x * right + y * up;
      const aside = Math.abs(x * up) + Math.abs(y * right);
      if (ahead > 1e-9 && ahead + 2 * aside < least) {
        least = ahead + 2 * aside;
        best = photo;
      }
    });
    return best;
  }

  // -- charts --------------------------------------------------------------------------------------------------------
  const percent = (value) => `${(100 * value).toLocaleString("en", { maximumFractionDigits: 2 })} %`;
  const charts = {
    spectrum: () => {
      const marks = [[data.kept, tone("berry")], [data.for95, tone("sun")]];
      return {
        type: "line",
        data: {
          datasets: [
            ...marks.map(([at, ink]) => ({ data: [{ x: at, y: data.spectrum[at - 1] }], pointRadius: 6, pointBackgroundColor: ink, pointBorderColor: tone("card"), showLine: false })),
            { data: data.spectrum.map((y, at) => ({ x: at + 1, y })), borderColor: tone("leaf"), borderWidth: 2.5, pointRadius: 0, pointHitRadius: 8 },
          ],
        },
        options: {
          parsing: false,
          plugins: { legend: { display: false }, tooltip: { displayColors: false, callbacks: { title: () => "", label: (at) => `${at.raw.x} explain ${percent(at.raw.y)}` } } },
          scales: {
            // A logarithmic axis: the first components explain most.
            x: axis("components", { type: "logarithmic", min: 1, ticks: { color: tone("soft"), maxRotation: 0, callback: (value) => ([1, 2, 5].includes(Number(String(value)[0])) ? value : "") } }),
            y: axis("explained", { min: 0, max: 1, ticks: { color: tone("soft"), callback: (value) => `${Math.round(100 * value)} %` } }),
          },
        },
      };
    },
    timings: () => ({
      type: "bar",
      data: {
        labels: data.timings.map(([stage]) => stage),
        datasets: [{ data: data.timings.map(([, seconds]) => seconds), backgroundColor: tone("leaf"), maxBarThickness: 22 }],
      },
      options: {
        indexAxis: "y",
        plugins: { legend: { display: false }, tooltip: { displayColors: false, callbacks: { label: (at) => `${at.raw.toLocaleString("en")} s` } } },
        scales: { x: axis("seconds", { beginAtZero: true }), y: axis("", { grid: { display: false } }) },
      },
    }),
    spaces: () => {
      const line = (name, label, ink, dash) => ({
        label, data: data.spaces.map((space) => space[name]), borderColor: ink, backgroundColor: ink, borderWidth: 2, pointRadius: 4, borderDash: dash,
      });
      return {
        type: "line",
        data: {
          labels: data.spaces.map((space) => space.name),
          datasets: [line("neighbours", "neighbours", tone("leaf"), []), line("probe", "linear probe", tone("berry"), [6, 4])],
        },
        options: {
          interaction: { mode: "index", intersect: false },
          plugins: {
            legend: { labels: { color: tone("ink"), boxHeight: 0, boxWidth: 30 } },
            tooltip: { callbacks: { label: (at) => `${at.dataset.label} ${percent(at.raw)}` } },
          },
          scales: { x: axis("components"), y: axis("right", { max: 1, ticks: { color: tone("soft"), callback: percent } }) },
        },
      };
    },
  };
  let drawn = [];
  function draw() {
    drawn.forEach((chart) => chart.destroy());
    drawn = [...document.querySelectorAll("[data-chart]")].map((place) => new Chart(place.querySelector("canvas"), charts[place.dataset.chart]()));
    entries.forEach((each, label) => { each.dot.style.background = colour(label); });
    filtered();
  }

  dark.addEventListener("change", draw);
  choose(-1);
  draw();
})();
