'use strict';
const all = (selector, on = document) => [...on.querySelectorAll(selector)];
const form = document.getElementById('filters');
const tip = document.getElementById('tip');

// Gives the marks of a figure what they show, and their groups the run.
function describe(picture) {
  const marks = JSON.parse(picture.dataset.marks);
  for (const [part, shown] of Object.entries(marks)) {
    const group = document.getElementById(`${picture.dataset.name}:${part}`);
    const [kind, run] = part.split(':');
    group.classList.add(kind);
    group.dataset.run = run;
    // A line is a path too, and has a use of its marker at each place.
    const tag = kind === 'interval' ? 'path:not([id])' : 'use';
    all(tag, group).forEach((mark, n) => { mark.dataset.at = shown[n]; });
  }
}

// Hides what is of a run, a question or a length that is not chosen.
function filter() {
  const chosen = (name) => new Set(
    all(`input[name="${name}"]:checked`).flatMap((box) => box.value.split(' ')));
  const runs = chosen('scheme');
  const questions = chosen('question');
  const lengths = chosen('length');
  for (const part of all('[data-run], [data-question], [data-at]')) {
    const { run, other, question, at } = part.dataset;
    const length = at ? at.split('|')[0] : part.dataset.length;
    part.toggleAttribute('hidden', Boolean(
      (run && !runs.has(run)) || (other && !runs.has(other)) ||
      (question && !questions.has(question)) ||
      (length && !lengths.has(length))));
  }
  const rows = all('#results tbody tr:not([hidden])').length;
  document.getElementById('count').textContent = `(${rows} rows shown)`;
}

function sort(button) {
  const head = button.parentElement;
  const body = head.closest('table').tBodies[0];
  const up = head.ariaSort !== 'ascending';
  for (const other of head.parentElement.cells) other.ariaSort = 'none';
  head.ariaSort = up ? 'ascending' : 'descending';
  const keys = new Map([...body.rows].map((row) => {
    const { dataset, textContent } = row.cells[head.cellIndex];
    return [row, dataset.value ?? textContent];
  }));
  const missing = (key) => key === 'nan' || key === '–';
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    // What has no number comes last, whichever way.
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    const difference = parseFloat(x) - parseFloat(y);
    const order = Number.isNaN(difference) ? x.localeCompare(y) : difference;
    return up ? order : -order;
  }));
}

function tell(mark, x, y) {
  for (const old of all('.active')) old.classList.remove('active');
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add('active');
  const group = mark.closest('[data-run]');
  const row = `#results [data-run="${group.dataset.run}"] th`;
  const at = mark.dataset.at.split('|');
  const where = `${document.querySelector(row).textContent} at ${at[0]} tokens`;
  tip.textContent = group.classList.contains('seeds')
    ? `${where}, seed ${at[1]}: ${at[2]} %`
    : `${where}, mean of its seeds: ${at[1]} %` +
      (at[2] ? ` [${at[2]}, ${at[3]}]` : '');
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, y - height - 12)}px`;
}

// With the keyboard: the seeds and intervals of a figure, one by one.
function walk(event) {
  if (event.key === 'Escape') tell(null);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const marks = all('[data-at]', event.currentTarget).filter(
    (mark) => mark.getClientRects().length);
  if (!step || !marks.length) return;
  event.preventDefault();
  const place = marks.findIndex((mark) => mark.matches('.active'));
  const start = place < 0 && step < 0 ? 0 : place;
  const next = marks[(start + step + marks.length) % marks.length];
  const box = next.getBoundingClientRect();
  tell(next, box.left, box.top);
}

if (form) {
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', filter);
  form.addEventListener('click', (event) => {
    const { all: every, none } = event.target.dataset;
    if (!every && !none) return;
    for (const box of all(`input[name="${every || none}"]`, form)) {
      if (!box.parentElement.hidden) box.checked = Boolean(every);
    }
    filter();
  });
  document.getElementById('find').addEventListener('input', (event) => {
    const text = event.target.value.toLowerCase();
    for (const label of all('#schemes label')) {
      label.hidden = !label.textContent.toLowerCase().includes(text);
    }
  });
  for (const button of all('th button')) {
    button.addEventListener('click', () => sort(button));
  }
  for (const kind of ['pointerover', 'pointerdown']) {
    document.addEventListener(kind, (event) =>
      tell(event.target.closest?.('[data-at]'), event.clientX, event.clientY));
  }
  for (const picture of all('[data-marks]')) {
    describe(picture);
    picture.addEventListener('keydown', walk);
    picture.addEventListener('blur', () => tell(null));
  }
}
