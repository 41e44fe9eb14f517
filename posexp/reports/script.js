'use strict';
const all = (selector, on = document) => [...on.querySelectorAll(selector)];
const form = document.getElementById('filters');
const tip = document.getElementById('tip');
const memory = new Map();
const labels = new Map();
let shortened = false;

function chosen(name) {
  const boxes = all(`input[name="${name}"]`, form);
  return new Set(
    boxes.filter((box) => box.checked).flatMap((box) => box.value.split(' '))
  );
}

function apply() {
  const runs = chosen('scheme');
  const questions = chosen('question');
  const lengths = chosen('length');
  for (const part of all('[data-question]')) {
    part.hidden = !questions.has(part.dataset.question);
  }
  const asked = new Set(
    [...questions].flatMap((place) => memory.get(place) || [])
  );
  let rows = 0;
  for (const part of all('[data-run]')) {
    const { run, other, length } = part.dataset;
    const seen = runs.has(run);
    if (part instanceof SVGElement) {
      part.style.display = seen ? '' : 'none';
      continue;
    }
    part.hidden = !(
      seen && asked.has(run) && (!other || runs.has(other)) &&
      (!length || lengths.has(length))
    );
    rows += !part.hidden && Boolean(part.closest('#results'));
  }
  const every = lengths.size === all('input[name="length"]', form).length;
  if (!every || shortened) {
    for (const mark of all('[data-at]')) {
      const seen = lengths.has(mark.dataset.at.split('|')[0]);
      mark.style.display = seen ? '' : 'none';
    }
  }
  shortened = !every;
  document.getElementById('count').textContent = `(${rows} rows shown)`;
}

function sort(button) {
  const head = button.parentElement;
  const body = head.closest('table').tBodies[0];
  const up = head.getAttribute('aria-sort') !== 'ascending';
  for (const other of all('th', head.parentElement)) {
    other.setAttribute('aria-sort', 'none');
  }
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const value = (row) => {
    const cell = row.cells[head.cellIndex];
    return cell.dataset.value ?? cell.textContent;
  };
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    const [m, n] = [parseFloat(x), parseFloat(y)];
    const numbers = !Number.isNaN(m) && !Number.isNaN(n);
    if (numbers && m !== n) return up ? m - n : n - m;
    // What has no number comes last, whichever way.
    const lone = (v) => v === 'nan' || v === '–';
    if (lone(x) !== lone(y)) return lone(x) ? 1 : -1;
    if (numbers || lone(x)) return 0;
    return up ? x.localeCompare(y) : y.localeCompare(x);
  };
  body.append(...[...body.rows].sort(order));
}

function said(mark) {
  const group = mark.closest('[data-run]');
  const at = mark.dataset.at.split('|');
  const [length, value, low, high] = at;
  const where = `${labels.get(group.dataset.run)} at ${length} tokens`;
  if (group.classList.contains('seed')) {
    return `${where}, seed ${at[1]}: ${at[2]} %`;
  }
  return `${where}, mean of its seeds: ${value} %` +
    (low ? ` [${low}, ${high}]` : '');
}

function tell(mark, x, y) {
  for (const old of all('.active')) old.classList.remove('active');
  tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add('active');
  tip.textContent = said(mark);
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, y - height - 12)}px`;
}

if (form) {
  for (const [place, part] of all('#figures [data-question]').entries()) {
    memory.set(String(place), []);
    for (const run of part.dataset.runs.split(' ')) {
      memory.get(String(place)).push(run);
    }
  }
  for (const box of all('input[name="scheme"]', form)) {
    for (const run of box.value.split(' ')) {
      labels.set(run, box.parentElement.textContent.trim());
    }
  }
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', apply);
  form.addEventListener('click', (event) => {
    const { all: every, none } = event.target.dataset;
    if (!every && !none) return;
    for (const box of all(`input[name="${every || none}"]`, form)) {
      if (!box.parentElement.hidden) box.checked = Boolean(every);
    }
    apply();
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
  const mark = (event) => event.target.closest?.('[data-at]');
  for (const kind of ['pointerover', 'pointerdown']) {
    document.addEventListener(kind, (event) =>
      tell(mark(event), event.clientX, event.clientY));
  }
  // With the keyboard: the seeds and intervals of a figure, one by one.
  for (const svg of all('figure svg')) {
    svg.setAttribute('tabindex', '0');
    let place = -1;
    svg.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === 'Escape') tell(null);
      if (!step) return;
      const parts = all('[data-at]', svg).filter(
        (one) => one.getClientRects().length);
      if (!parts.length) return;
      event.preventDefault();
      place = (place + step + parts.length) % parts.length;
      const box = parts[place].getBoundingClientRect();
      tell(parts[place], box.left, box.top);
    });
    svg.addEventListener('blur', () => tell(null));
  }
}
