// What pages do beyond what they say: times go on, states follow what happens, logs of any length open at once.
// Everything here can be done without it.
"use strict";
(() => {
	const ROW = 20; // The height of a line of a log, as in the style sheet.
	const TALLEST = 8e6; // Browsers draw nothing that is much taller.
	const CHUNKS = 24; // The parts of a log that are kept.
	const LONGEST = 4000; // What is shown of a line, in characters.
	const MOST = 4 << 20; // What is fetched of a log at once, in bytes.
	const HIDDEN = 30000; // How long a page that nobody sees goes on following, in milliseconds.

	const all = (selector, within = document) => [...within.querySelectorAll(selector)];
	const one = (selector, within = document) => within.querySelector(selector);
	const make = (name, attributes = {}, ...children) => {
		const element = document.createElement(name);
		for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
		element.append(...children);
		return element;
	};

	// Times.

	const fromNow = (ms) => {
		const s = Math.floor(Math.abs(ms) / 1000);
		if (s < 10) return ms > 0 ? "in a moment" : "just now";
		const [count, unit] = s < 60 ? [s, "s"] : s < 3600 ? [s / 60, "min"] : s < 86400 ? [s / 3600, "h"] :
			s < 5184000 ? [s / 86400, "d"] : s < 63072000 ? [s / 2592000, "months"] : [s / 31536000, "years"];
		return ms > 0 ? `in ${Math.floor(count)} ${unit}` : `${Math.floor(count)} ${unit} ago`;
	};
	const span = (ms) => {
		const s = Math.max(0, Math.floor(ms / 1000)), two = (n) => String(n).padStart(2, "0");
		if (s < 60) return `${s}s`;
		return s < 3600 ? `${Math.floor(s / 60)}m${two(s % 60)}s` : `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
	};
	// The server's clock counts, not the reader's.
	const skew = Number(document.body.dataset.now) - Date.now();
	const tell = () => {
		const now = Date.now() + skew;
		for (const time of all("time")) {
			const text = fromNow(Date.parse(time.dateTime) - now);
			if (time.textContent !== text) time.textContent = text;
		}
		for (const part of all("[data-since]")) part.textContent = span(now - Number(part.dataset.since));
	};
	setInterval(tell, 1000);

	// Parts of a page that are fetched again.

	const fetchPage = async () => {
		const response = await fetch(location.href.split("#")[0], { headers: { accept: "text/html" } });
		if (!response.ok || response.redirected) throw new Error(String(response.status));
		return new DOMParser().parseFromString(await response.text(), "text/html");
	};
	const replace = (selector, page) => {
		const old = one(selector), fresh = one(selector, page);
		if (!old || !fresh || old.innerHTML === fresh.innerHTML) return;
		const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
		old.replaceWith(document.adoptNode(fresh));
		if (focused) all("a", fresh).find((link) => link.getAttribute("href") === focused)?.focus();
	};
	// Runs a task soon, and once for all calls until then.
	const soon = (task, pause) => {
		let waits = false, last = 0;
		return () => {
			if (waits) return;
			waits = true;
			setTimeout(async () => {
				waits = false;
				last = Date.now();
				try { await task(); } catch { /* The next event tries again. */ }
			}, Math.max(50, pause - (Date.now() - last)));
		};
	};

	// Follows a stream of events while somebody looks at the page.
	const follow = (url, handlers) => {
		let source = null, timer = 0;
		const open = () => {
			if (source) return;
			source = new EventSource(url());
			for (const [name, handle] of Object.entries(handlers)) {
				source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
			}
		};
		const close = () => { source?.close(); source = null; };
		const look = () => {
			clearTimeout(timer);
			if (document.hidden) timer = setTimeout(close, HIDDEN);
			else if (!source) { open(); handlers.changed?.(); }
		};
		document.addEventListener("visibilitychange", look);
		addEventListener("pagehide", close);
		addEventListener("pageshow", (event) => { if (event.persisted) look(); });
		open();
		return () => { document.removeEventListener("visibilitychange", look); close(); };
	};

	// A log: only what is in view is in the page, and only what was in view has been fetched.

	class Log {
		constructor(root) {
			this.root = root;
			this.data = root.dataset;
			this.chunks = new Map();
			this.wanted = new Set();
			this.folded = new Set();
			this.top = 0; // The row at the upper edge.
			this.here = 0; // The line that the address names.
			this.stick = this.data.live === "true";
			this.again = soon(() => this.reload(), 500);
		}

		async start() {
			const map = await this.fetchMap();
			this.tail = [];
			this.take(map);
			await this.fetchTail();
			this.build();
			const line = Number(/^#L(\d+)$/.exec(location.hash)?.[1] ?? new URLSearchParams(location.search).get("line") ?? 0);
			if (line) this.go(line);
			else if (this.stick) this.end();
			else this.draw();
		}

		async fetchMap() {
			const response = await fetch(this.data.map);
			if (!response.ok) throw new Error(String(response.status));
			return response.json();
		}

		// Takes what the server knows of the lines. The last chunk, which grows, is the tail.
		take(map) {
			const before = this.map;
			this.map = map;
			const first = (map.places.length - 1) * map.every + 1;
			const cut = first - this.first;
			if (before && map.every === before.every && cut < this.tail.length) {
				for (let n = 0; n + map.every <= cut; n += map.every) {
					this.chunks.set((this.first - 1 + n) / map.every, this.tail.slice(n, n + map.every));
				}
				this.tail.splice(0, cut);
			} else {
				this.chunks.clear();
				this.stale = true;
			}
			this.first = first;
			this.errors = new Set(map.errors.map((mark) => mark.line));
			this.phases = new Map(map.phases.map((mark) => [mark.line, mark]));
			this.layOut();
		}

		async fetchTail() {
			const start = this.map.places.at(-1), end = this.map.bytes;
			const text = end > start ? await this.fetchText(start, end) : "";
			this.tail = text.split("\n");
			this.place = end;
			this.stale = false;
			this.layOut();
		}

		async reload() {
			this.take(await this.fetchMap());
			if (this.stale) await this.fetchTail();
			this.fillJump();
			this.draw();
			this.say();
		}

		// The log does not grow any more: what was missed of it is fetched.
		finish() {
			this.data.live = "false";
			this.stale = true;
			this.again();
		}

		async fetchText(start, end) {
			const range = `bytes=${start}-${Math.min(end, start + MOST) - 1}`;
			// A browser that keeps ranges can answer with those of the log as it was.
			const response = await fetch(this.data.log, { cache: "no-store", headers: { range } });
			if (response.status !== 206) throw new Error(String(response.status));
			return new TextDecoder().decode(await response.arrayBuffer());
		}

		async fetchChunk(n) {
			if (this.wanted.has(n)) return;
			this.wanted.add(n);
			try {
				const text = await this.fetchText(this.map.places[n], this.map.places[n + 1]);
				this.chunks.set(n, text.split("\n").slice(0, this.map.every));
				if (this.chunks.size > CHUNKS) this.chunks.delete(this.chunks.keys().next().value);
				this.draw();
			} catch { /* It is fetched again when it is next looked at. */ } finally { this.wanted.delete(n); }
		}

		// What has come of the log.
		append(piece) {
			if (piece.attempt !== this.map.attempt || piece.end <= this.place) return;
			if (piece.offset !== this.place) {
				this.stale = true;
				return this.again();
			}
			const lines = piece.text.split("\n");
			this.tail[this.tail.length - 1] += lines[0];
			for (let n = 1; n < lines.length; n++) this.tail.push(lines[n]);
			this.place = piece.end;
			if (this.tail.length > 2 * this.map.every) this.again();
			this.layOut();
			if (this.stick) this.end(); else this.draw();
			this.say();
		}

		get lines() {
			const open = this.tail.length > 0 && this.tail.at(-1) === "" ? 1 : 0;
			return this.first - 1 + this.tail.length - open;
		}

		// Lays the lines out in rows: what is folded has none, but for its first line.
		layOut() {
			const total = this.lines, starts = [...this.phases.keys()].filter((line) => line <= total);
			this.runs = [];
			let row = 0, from = 1;
			const run = (to) => {
				if (to < from) return;
				this.runs.push({ row, line: from, count: to - from + 1 });
				row += to - from + 1;
			};
			starts.forEach((line, n) => {
				const next = starts[n + 1] ?? total + 1;
				run(line);
				// The rest of the box around the name says nothing more.
				from = this.folded.has(line) ? next : Math.min(line + 3, next);
			});
			run(total);
			this.rows = row;
			if (this.space) this.space.style.height = `${Math.min(this.rows * ROW, TALLEST)}px`;
		}

		find(key, value) {
			let low = 0, high = this.runs.length - 1;
			while (low < high) {
				const middle = (low + high + 1) >> 1;
				if (this.runs[middle][key] <= value) low = middle; else high = middle - 1;
			}
			return this.runs[low];
		}
		lineOf(row) { const run = this.find("row", row); return run.line + row - run.row; }
		rowOf(line) {
			const run = this.find("line", line);
			return run.row + Math.min(line - run.line, run.count - 1);
		}

		textOf(line) {
			if (line >= this.first) return this.tail[line - this.first];
			const n = Math.floor((line - 1) / this.map.every), chunk = this.chunks.get(n);
			if (!chunk) { this.fetchChunk(n); return null; }
			this.chunks.delete(n);
			this.chunks.set(n, chunk);
			return chunk[line - 1 - n * this.map.every] ?? "";
		}

		build() {
			this.list = make("ol", { class: "lines" });
			this.space = make("div", { class: "space" }, this.list);
			this.view = make("div", { class: "view", tabindex: "0", role: "region", "aria-label": "Log" }, this.space);
			one("[data-tail]", this.root).replaceWith(this.view);
			one("[data-parts]", this.root)?.remove();
			one("[data-phases]", this.root)?.remove();
			this.layOut();
			const tools = one(".log-tools", this.root);
			this.jump = make("select", { class: "jump", "aria-label": "Go to a phase" });
			this.jump.addEventListener("change", () => { if (this.jump.value) this.go(Number(this.jump.value)); });
			const fold = make("button", { type: "button", class: "link" }, "Fold phases");
			fold.addEventListener("click", () => {
				const close = this.folded.size === 0;
				this.folded = new Set(close ? this.phases.keys() : []);
				fold.textContent = close ? "Unfold phases" : "Fold phases";
				this.layOut();
				this.draw();
			});
			const end = make("button", { type: "button", class: "link" }, "To the end");
			end.addEventListener("click", () => { this.stick = true; this.end(); });
			this.folding = make("span", { class: "row" }, this.jump, fold);
			one(".right", tools).prepend(this.folding, end);
			this.fillJump();
			this.view.addEventListener("scroll", () => this.scrolled(), { passive: true });
			this.view.addEventListener("keydown", (event) => this.key(event));
			this.view.addEventListener("click", (event) => this.click(event));
			new ResizeObserver(() => this.draw()).observe(this.view);
		}

		fillJump() {
			this.folding.hidden = this.phases.size === 0;
			if (this.jump.options.length === this.phases.size + 1) return;
			const option = (value, text) => make("option", { value }, text);
			const marks = [...this.phases.values()].map((mark) => option(mark.line, mark.text));
			this.jump.replaceChildren(option("", "Go to a phase"), ...marks);
		}

		get seen() { return Math.max(1, Math.floor(this.view.clientHeight / ROW)); }
		get lowest() { return Math.max(0, this.rows - this.seen); }
		get room() { return Math.max(1, this.space.offsetHeight - this.view.clientHeight); }

		scrolled() {
			if (Math.abs(this.view.scrollTop - (this.set ?? -9)) >= 1) {
				const scaled = this.rows * ROW > TALLEST;
				this.top = scaled ? this.view.scrollTop / this.room * this.lowest : this.view.scrollTop / ROW;
				this.stick = this.data.live === "true" && this.top >= this.lowest - 1;
				this.set = undefined;
			}
			this.draw();
		}

		// Puts a row at the upper edge.
		scrollTo(row) {
			this.top = Math.min(Math.max(0, row), this.lowest);
			const scaled = this.rows * ROW > TALLEST;
			this.view.scrollTop = scaled ? this.top / Math.max(1, this.lowest) * this.room : this.top * ROW;
			this.set = this.view.scrollTop;
			this.draw();
		}

		end() { this.scrollTo(this.lowest); }

		// Goes to a line, and marks it.
		go(line) {
			this.here = Math.min(Math.max(1, line), Math.max(1, this.lines));
			this.stick = false;
			for (const start of [...this.folded]) {
				if (this.rowOf(this.here) === this.rowOf(start)) this.folded.delete(start);
			}
			this.layOut();
			this.scrollTo(this.rowOf(this.here) - Math.floor(this.seen / 3));
		}

		key(event) {
			if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.view) return;
			const step = { ArrowUp: -1, ArrowDown: 1, PageUp: 1 - this.seen, PageDown: this.seen - 1, Home: -Infinity, End: Infinity }[event.key];
			if (step === undefined) return;
			event.preventDefault();
			this.stick = this.data.live === "true" && this.top + step >= this.lowest;
			this.scrollTo(Math.round(this.top) + step);
		}

		click(event) {
			const button = event.target.closest("button"), link = event.target.closest("a");
			if (button) {
				const line = Number(button.dataset.fold);
				if (!this.folded.delete(line)) this.folded.add(line);
				this.layOut();
				this.draw();
				one(`button[data-fold="${line}"]`, this.list)?.focus();
			} else if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
				event.preventDefault();
				this.here = Number(link.dataset.line);
				history.replaceState(null, "", `${location.pathname}?attempt=${this.map.attempt}#L${this.here}`);
				this.draw();
			}
		}

		draw() {
			if (!this.view) return;
			const first = Math.max(0, Math.floor(this.top) - 8), last = Math.min(this.rows, Math.ceil(this.top) + this.seen + 8);
			const rows = [];
			for (let row = first; row < last; row++) rows.push(this.row(this.lineOf(row)));
			this.list.replaceChildren(...rows);
			this.list.style.transform = `translateY(${this.view.scrollTop + (first - this.top) * ROW}px)`;
		}

		row(line) {
			const link = make("a", { href: `${this.data.page}&line=${line}#L${line}`, "data-line": line, tabindex: "-1" }, String(line));
			const item = make("li", {}, link), phase = this.phases.get(line);
			const text = phase ? phase.text : this.textOf(line);
			if (phase) {
				const open = !this.folded.has(line), word = open ? "Fold" : "Unfold";
				const button = make("button", { type: "button", "data-fold": line, "aria-expanded": open, "aria-label": `${word} ${phase.text}` }, open ? "▾" : "▸");
				item.className = "fold";
				item.append(button);
			}
			const shown = text === null ? "…" : text.length > LONGEST ? `${text.slice(0, LONGEST)} … (${text.length} characters)` : text;
			item.append(make("span", {}, visible(shown)));
			if (text === null) item.classList.add("waits");
			if (this.errors.has(line)) item.classList.add("error");
			if (line === this.here) item.classList.add("here");
			return item;
		}

		say() {
			const size = one("[data-size]", this.root);
			if (size) size.textContent = `${this.lines} lines, ${sizeOf(this.place)}`;
		}
	}

	const sizeOf = (count) => {
		if (count < 1024) return `${count} bytes`;
		const unit = Math.min(3, Math.floor(Math.log2(count) / 10));
		return `${(count / 1024 ** unit).toFixed(1)} ${["", "KiB", "MiB", "GiB"][unit]}`;
	};
	// What steers a terminal, or reorders what is read, is shown as what it is.
	const visible = (text) => text.replace(/\r$/, "").replace(
		/[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]/g,
		(c) => `\\u{${c.codePointAt(0).toString(16)}}`,
	);

	// Puts the pieces together.

	const openLog = async (root) => {
		const log = new Log(root);
		try { await log.start(); } catch { return null; }
		addEventListener("hashchange", () => {
			const line = /^#L(\d+)$/.exec(location.hash);
			if (line) log.go(Number(line[1]));
		});
		return log;
	};

	const watchJob = async (page) => {
		let root = one("[data-log]"), log = root ? await openLog(root) : null;
		document.addEventListener("click", (event) => {
			const link = event.target.closest("[data-part=head] a[data-line]");
			if (!link || !log) return;
			event.preventDefault();
			history.replaceState(null, "", `#L${link.dataset.line}`);
			log.go(Number(link.dataset.line));
			log.view.focus({ preventScroll: false });
		});
		if (page.dataset.open !== "true") return;
		const said = one("[data-said]");
		const refresh = soon(async () => replace("[data-part=head]", await fetchPage()), 1000);
		let early = null, ended = false; // Pieces that come while a log is opened.
		// A log that has begun, or that of another attempt.
		const begin = soon(async () => {
			const fresh = await fetchPage(), old = one("[data-log], [data-nolog]"), next = one("[data-log]", fresh);
			if (!next || !old || early) return;
			old.replaceWith(document.adoptNode(next));
			early = [];
			log = await openLog(next);
			const pieces = early;
			early = null;
			for (const piece of pieces) hear(piece);
			if (ended) finish();
		}, 1000);
		const hear = (piece) => {
			if (early) early.push(piece);
			else if (!log || (log.data.live === "true" && piece.attempt > log.map.attempt)) begin();
			else log.append(piece);
		};
		const finish = () => log ? log.finish() : begin();
		let last = "";
		const url = () => `${page.dataset.follow}?attempt=${log?.map.attempt ?? 1}&offset=${log?.place ?? 0}`;
		const stop = follow(url, {
			changed: refresh,
			state: ({ state }) => {
				if (last && last !== state) said.textContent = `The job is ${state}.`;
				last = state;
				refresh();
			},
			waits: refresh,
			log: hear,
			end: (job) => {
				stop();
				said.textContent = `The job has ended: ${job.state}.`;
				ended = true;
				finish();
				refresh();
			},
		});
	};

	const start = async () => {
		tell();
		const live = one("[data-live]:not([data-log])");
		if (live) {
			const refresh = soon(async () => replace("[data-live]:not([data-log])", await fetchPage()), 1000);
			follow(() => live.dataset.live, { changed: refresh });
		}
		const page = one("[data-job]");
		if (page) return watchJob(page);
		const root = one("[data-log]"), log = root ? await openLog(root) : null;
		if (log && root.dataset.live === "true") {
			const stop = follow(() => `${root.dataset.events}?attempt=${log.map.attempt}&offset=${log.place}`, {
				log: (piece) => log.append(piece),
				end: () => { stop(); log.finish(); },
			});
		}
	};
	start();
})();
