// The browser of items. What models wrote becomes text nodes and nothing else. The list reads one
// small row an item; an item's texts stand in a script element of their own, parsed when it is opened.
'use strict';
(() => {
  // As in data.rs.
  const RIGHT = 1, WRONG = 2, TRUNCATED = 4, NO_ANSWER = 8, CANNOT_TELL = 16, REPEATS = 32, MIXED = 64;
  const KINDS = [
    [RIGHT, 'right'], [WRONG, 'wrong'], [TRUNCATED, 'truncated'], [NO_ANSWER, 'no answer'],
    [CANNOT_TELL, 'could not tell'], [REPEATS, 'repeats'], [MIXED, 'mixes languages'],
  ];
  const ROW = 60; // Its height in page.css.

  const $ = (id) => document.getElementById(id);
  const { runs, rows } = JSON.parse($('data').textContent);
  const list = $('list'), box = $('rows'), pane = $('item');

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== null) element.setAttribute(name, value);
    }
    element.append(...children.filter((c) => c !== null && c !== undefined));
    return element;
  }
  const commas = (n) => n.toLocaleString('en');
  const full = (i) => JSON.parse($('item-' + i).textContent);

  // What is known of every item without opening it.
  const share = (marks) => marks.filter((m) => m & RIGHT).length / Math.max(marks.length, 1);
  rows.forEach((row) => {
    row.any = row.marks.flat().reduce((a, b) => a | b, 0);
    row.shares = row.marks.map(share);
    row.share = row.shares.reduce((a, b) => a + b, 0) / row.shares.length;
    row.change = row.shares.length > 1 ? row.shares[1] - row.shares[0] : 0;
    row.split = row.marks.some((marks) => { const s = share(marks); return s > 0 && s < 1; });
  });

  const filters = [['all', () => true]];
  if (runs.length > 1) {
    filters.push([runs[0].name + ' better', (row) => row.change < 0], [runs[1].name + ' better', (row) => row.change > 0]);
  }
  for (const [bit, name] of KINDS) filters.push([name, (row) => (row.any & bit) !== 0]);
  if (rows.some((row) => row.split)) filters.push(['right and wrong', (row) => row.split]);

  const orders = [
    ['as in the run', null],
    ['most wrong first', (a, b) => rows[a].share - rows[b].share],
    ['most right first', (a, b) => rows[b].share - rows[a].share],
    ['longest first', (a, b) => rows[b].tokens - rows[a].tokens],
    ['shortest first', (a, b) => rows[a].tokens - rows[b].tokens],
  ];
  if (runs.length > 1) orders.push(['most changed first', (a, b) => Math.abs(rows[b].change) - Math.abs(rows[a].change)]);

  let filter = 0;
  let words = '';
  let shown = [];
  let chosen = -1; // An index into rows.

  const texts = new Map();
  function haystack(i) {
    let text = texts.get(i);
    if (text === undefined) {
      const item = full(i);
      const samples = item.runs.flat();
      text = [rows[i].id, item.question, ...samples.flatMap((s) => [s.reasoning, s.answer, s.extracted ?? ''])].join('\n').toLowerCase();
      texts.set(i, text);
    }
    return text;
  }

  function refresh() {
    const group = $('group').value;
    const test = filters[filter][1];
    shown = [...rows.keys()].filter((i) => test(rows[i]) && (group === '*' || 'g' + (rows[i].group ?? '') === group));
    if (words) shown = shown.filter((i) => haystack(i).includes(words));
    const order = orders[$('order').value][1];
    if (order) shown.sort(order);
    $('shown').textContent = `${commas(shown.length)} of ${commas(rows.length)} items`;
    [...$('filters').children].forEach((button, i) => button.setAttribute('aria-pressed', i === filter));
    list.scrollTop = 0;
    if (!shown.includes(chosen)) choose(shown.length ? 0 : -1, false);
    else { draw(); reveal(shown.indexOf(chosen)); }
  }

  const SIGNS = [[RIGHT, '✓', 'is-right'], [CANNOT_TELL, '?', 'is-other'], [TRUNCATED, '…', 'is-wrong'], [NO_ANSWER, '∅', 'is-wrong'], [WRONG, '✗', 'is-wrong']];
  function dots(row) {
    const dots = make('span', { class: 'dots', 'aria-hidden': 'true' });
    row.marks.forEach((marks, run) => {
      if (run) dots.append(' | ');
      for (const mark of marks.slice(0, 16)) {
        const [, sign, look] = SIGNS.find(([bit]) => mark & bit) ?? SIGNS[4];
        dots.append(make('span', { class: look }, sign));
      }
      if (marks.length > 16) dots.append('+');
    });
    return dots;
  }
  const counted = (row) => row.marks.map((m) => `${m.filter((x) => x & RIGHT).length} of ${m.length} right`).join(', ');

  // Only the rows in sight exist.
  function draw() {
    box.style.height = `${shown.length * ROW}px`;
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
    const some = [];
    for (let at = from; at < to; at++) {
      const i = shown[at], row = rows[i];
      const element = make('div', {
        class: 'row', role: 'option', id: 'row-' + i, 'aria-selected': i === chosen,
        'aria-setsize': shown.length, 'aria-posinset': at + 1, 'aria-label': `${row.id}: ${counted(row)}. ${row.question}`,
        onclick: () => { choose(at, true); },
      }, make('div', { class: 'top' }, make('span', { dir: 'auto' }, row.id + (row.group ? ' · ' + row.group : '')), dots(row)),
        make('div', { class: 'ask', dir: 'auto' }, row.question));
      element.style.top = `${at * ROW}px`;
      some.push(element);
    }
    box.replaceChildren(...some);
    if (chosen >= 0 && $('row-' + chosen)) list.setAttribute('aria-activedescendant', 'row-' + chosen);
    else list.removeAttribute('aria-activedescendant');
  }

  function reveal(at) {
    if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
    else if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
  }

  function choose(at, go) {
    chosen = at < 0 ? -1 : shown[at];
    if (at >= 0) reveal(at);
    draw();
    open();
    // The page's address names the item, so that it can be passed on. Only where one was chosen.
    if (go && chosen >= 0) {
      try { history.replaceState(null, '', '#item=' + encodeURIComponent(rows[chosen].id)); } catch { /* not allowed here */ }
      const top = pane.getBoundingClientRect().top;
      if (top < 0 || top > innerHeight * 0.6) pane.scrollIntoView({ block: 'start' });
    }
  }

  // Text, with what was searched for marked.
  function text(words_, string) {
    const element = make('pre', { class: 'text', dir: 'auto' });
    const lower = words_ ? string.toLowerCase() : '';
    // Lower case can be longer (İ): then places don't agree, and nothing is marked.
    if (!words_ || lower.length !== string.length) { element.textContent = string; return element; }
    let from = 0;
    for (let at = lower.indexOf(words_), n = 0; at >= 0 && n < 500; at = lower.indexOf(words_, from), n++) {
      element.append(string.slice(from, at), make('mark', null, string.slice(at, at + words_.length)));
      from = at + words_.length;
    }
    element.append(string.slice(from));
    return element;
  }

  // Filled when it is first opened: a loop of twenty thousand tokens is laid out only if asked for.
  function folded(attributes, summary, fill, openNow) {
    const element = make('details', attributes, make('summary', null, ...summary));
    const once = () => { if (element.open && element.childElementCount === 1) element.append(...fill()); };
    element.addEventListener('toggle', once);
    if (openNow) { element.open = true; once(); }
    return element;
  }

  function sample(s, marks, openNow) {
    const badges = KINDS.filter(([bit]) => marks & bit && !(bit === WRONG && marks & NO_ANSWER))
      .map(([bit, name]) => make('span', { class: 'badge ' + (bit === RIGHT ? 'is-right' : bit & (WRONG | NO_ANSWER) ? 'is-wrong' : 'is-other') }, name));
    const head = [`Sample ${s.index} `, ...badges];
    if (s.extracted !== null) head.push(make('code', { dir: 'auto' }, s.extracted.length > 120 ? s.extracted.slice(0, 119) + '…' : s.extracted));
    return folded({ class: 'sample' }, head, () => {
      const body = make('div', { class: 'body' });
      const meta = [`${commas(s.tokens)} tokens`, s.thinking ? `${commas(s.thinking)} of them thinking` : null, `${commas(s.prompt)} of prompt`,
        `${s.seconds.toFixed(1)} s`, `ended by ${s.finish}`, `seed ${s.seed}`];
      if (s.score !== null && s.score > 0 && s.score < 1) meta.push(`score ${s.score.toFixed(3)}`);
      for (const [name, value] of Object.entries(s.details)) meta.push(`${name}: ${JSON.stringify(value)}`);
      body.append(make('p', { class: 'meta' }, meta.filter(Boolean).join(' · ')));
      if (s.why) body.append(make('p', { class: 'meta', dir: 'auto' }, 'Verdict: ' + s.why));
      if (s.reasoning) {
        const found = words && s.reasoning.toLowerCase().includes(words);
        body.append(folded({ class: 'thinking' }, ['Thinking' + (s.thinking ? ` · ${commas(s.thinking)} tokens` : '') + (found ? ' · found here' : '')], () => [text(words, s.reasoning)], false));
      }
      body.append(s.answer ? text(words, s.answer) : make('p', { class: 'empty' }, 'No answer was written.'));
      return [body];
    }, openNow);
  }

  function open() {
    if (chosen < 0) { pane.replaceChildren(make('p', { class: 'empty' }, 'No item is like that.')); return; }
    const row = rows[chosen], item = full(chosen);
    const gold = item.task && typeof item.task === 'object' ? item.task.answer ?? item.task.gold : item.task;
    const plain = typeof gold === 'string' || typeof gold === 'number' || typeof gold === 'boolean';
    pane.replaceChildren(
      make('button', { class: 'back', type: 'button', onclick: () => { list.focus(); $('items').scrollIntoView(); } }, '↑ Items'),
      make('h3', { dir: 'auto' }, row.id),
      make('p', { class: 'sub', dir: 'auto' }, [row.group, counted(row)].filter(Boolean).join(' · ')),
      make('div', { class: 'ask-full' }, text(words, item.question)),
      plain ? make('p', { class: 'gold' }, 'Expected: ', make('code', { dir: 'auto' }, String(gold))) : null,
      folded({ class: 'small' }, ['Task'], () => [make('pre', null, JSON.stringify(item.task, null, 2))], false),
      make('div', { class: runs.length > 1 ? 'runs two' : 'runs' }, ...item.runs.map((samples, run) => make('div', null,
        runs.length > 1 ? make('h4', null, runs[run].name + ' · ' + runs[run].model) : null,
        ...samples.map((s, at) => sample(s, row.marks[run][at], at === 0))))),
    );
  }

  // Controls.
  filters.forEach(([name, test], i) => {
    const count = rows.filter(test).length;
    $('filters').append(make('button', { type: 'button', 'aria-pressed': 'false', onclick: () => { filter = i; refresh(); } },
      name + ' ', make('span', null, commas(count))));
  });
  const groups = [...new Set(rows.map((row) => row.group ?? ''))];
  groups.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  $('group').append(make('option', { value: '*' }, 'all'), ...groups.map((g) => make('option', { value: 'g' + g }, g || '(none)')));
  $('group').parentElement.hidden = groups.length < 2;
  $('order').append(...orders.map(([name], i) => make('option', { value: i }, name)));
  $('group').addEventListener('change', refresh);
  $('order').addEventListener('change', refresh);
  let wait;
  for (const change of ['input', 'search']) $('search').addEventListener(change, () => {
    clearTimeout(wait);
    wait = setTimeout(() => { words = $('search').value.trim().toLowerCase(); refresh(); if (chosen >= 0) open(); }, 160);
  });
  list.addEventListener('scroll', () => requestAnimationFrame(draw), { passive: true });
  addEventListener('resize', draw);

  function step(by) {
    if (!shown.length) return;
    const at = shown.indexOf(chosen);
    choose(Math.min(shown.length - 1, Math.max(0, at + by)), true);
  }
  list.addEventListener('keydown', (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === 'Enter') pane.focus();
    else if (by !== undefined) step(by);
    else return;
    event.preventDefault();
  });
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea')) {
      // Left to itself it would empty the box, and in some browsers tell nobody.
      if (event.key === 'Escape' && event.target.id === 'search') { list.focus(); event.preventDefault(); }
      return;
    }
    if (event.key === 'j') step(1);
    else if (event.key === 'k') step(-1);
    else if (event.key === 't') {
      const all = [...pane.querySelectorAll('.sample[open] > .body > .thinking')];
      const folding = all.some((one) => one.open);
      all.forEach((one) => { one.open = !folding; });
    } else if (event.key === '/') { $('search').focus(); }
    else return;
    event.preventDefault();
  });

  let named = null;
  try { named = location.hash.startsWith('#item=') ? decodeURIComponent(location.hash.slice(6)) : null; } catch { /* cut short */ }
  refresh();
  const at = named === null ? -1 : shown.findIndex((i) => rows[i].id === named);
  if (at >= 0) choose(at, true);
})();
