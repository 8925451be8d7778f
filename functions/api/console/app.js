// The console: which page is shown at which address, the frame around it, the keyboard, and the key.

import { api, follow, key, path as pathOf, Problem } from './lib/api.js';
import { h, morph } from './lib/dom.js';
import { returned, signIn } from './lib/sign-in.js';
import { button, dialog, trouble } from './lib/ui.js';

/** Addresses below /console/, their names, the letter after `g` that leads there, and the module if it has another name. */
const PAGES = [
  ['overview', 'Overview', 'o'],
  ['flows', 'Flows', 'f'],
  ['flows/:flow_id', 'Flow', '', 'flow'],
  ['tickets/:ticket_id', 'Ticket', '', 'ticket'],
  ['stuck', 'Stuck', 's'],
  ['inbox', 'Inbox', 'i'],
  ['slos', 'Service levels', 'l'],
  ['slos/:slo_id', 'Service level', '', 'slo'],
  ['freezes', 'Freezes', 'z'],
  ['admission', 'Admission', 'c'],
  ['what-if', 'What if', 't'],
  ['predictions', 'Predictions', 'r'],
  ['insights', 'Insights', 'e'],
  ['insights/:insight_id', 'Insight', '', 'insight'],
  ['workers', 'Workers', 'w'],
  ['workers/:worker_id', 'Worker', '', 'workers'],
  ['incidents', 'Incidents', 'n', 'audit'],
  ['dead-letters', 'Dead letters', 'd'],
  ['audit', 'Audit', 'a'],
  ['simulator', 'Simulator', 'm'],
  ['costs', 'Costs', 'p'],
  ['settings', 'Settings and health', 'h'],
].map(([address, name, letter, module = address]) => ({ address, name, letter, module,
  pattern: new RegExp(`^/console/${address.replace(/:(\w+)/, '(?<$1>[^/]+)')}/?$`) }));
const MENU = PAGES.filter(({ letter }) => letter);

const DEBOUNCE = 250;
const LONGEST = 2000; // a page under a stream of changes is read again this often
const main = () => document.querySelector('main');
let shown = { stop() {} };

/**
 * Show a page. A module exports `page`: `load(ctx)` reads its state, `view(state, ctx)` makes nodes of it, `title(state, ctx)`
 * names it. `live` says whether it is read again after a change: true, or a function of (change, state, ctx); `every` after
 * how many seconds in any case: a number, or a function of the state. `ctx.local` is what a page keeps while it is shown.
 */
async function show() {
  shown.stop();
  const path = location.pathname.replace(/^\/(console\/?)?$/, '/console/flows');
  if (path !== location.pathname) history.replaceState(null, '', path + location.search);
  const entry = PAGES.find(({ pattern }) => pattern.test(path) && decodable(path)), end = new AbortController();
  let page, state, timer, later, first, reading = false, again = false;
  const unfollow = follow(news), here = { stop() { end.abort(); unfollow(); clearTimeout(timer); clearTimeout(later); } };
  shown = here;
  frame(entry);
  if (!entry) return main().replaceChildren(trouble(new Problem(404, { detail: `There is no page at ${path}.` })));
  const params = Object.fromEntries(Object.entries(entry.pattern.exec(path).groups ?? {}).map(([name, text]) => [name, decodeURIComponent(text)]));
  const ctx = { address: entry.address, params, local: {}, signal: end.signal, get: (route, query) => api.get(route, query, end.signal), go, set, reload, render, get query() { return Object.fromEntries(new URLSearchParams(location.search)); } };
  main().replaceChildren(h('p.loading', 'Loading…'));
  document.title = `${entry.name} · Flow C`;

  function set(changes) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
    history.replaceState(null, '', url);
    return reload();
  }

  function render() {
    if (shown !== here || state === undefined) return;
    morph(main(), h('main', { id: 'main', tabindex: '-1' }, h('div', { class: `page ${entry.module}` }, page.view(state, ctx))));
    document.title = `${page.title?.(state, ctx) ?? entry.name} · Flow C`;
  }

  async function reload() {
    if (reading) { again = true; return; }
    reading = true;
    try {
      state = await page.load(ctx);
      render();
    } catch (error) {
      if (error.name !== 'AbortError' && shown === here) failed(error);
    }
    reading = false;
    const seconds = typeof page.every === 'function' ? state && page.every(state) : page.every;
    clearTimeout(later);
    if (seconds && shown === here) later = setTimeout(() => news(null, true), seconds * 1000);
    if (again) { again = false; await reload(); }
  }

  function failed(error) {
    if (error.status === 401) {
      here.stop(); // nothing is read again under the hands of whoever signs in
      return signIn(main(), error, show);
    }
    if (!(error instanceof Problem)) console.error(error);
    main().replaceChildren(trouble(error, page ? reload : show));
  }

  function news(changes, due = false) {
    const live = page?.live ?? due;
    if (!live || (changes && typeof live === 'function' && !changes.some((change) => live(change, state, ctx)))) return;
    first ??= performance.now();
    clearTimeout(timer);
    timer = setTimeout(() => { first = null; reload(); }, Math.max(0, Math.min(DEBOUNCE, first + LONGEST - performance.now())));
  }

  try {
    ({ page } = await import(`./pages/${entry.module}.js`));
  } catch (error) {
    return failed(new Problem(0, { detail: `The page could not be loaded: ${error.message}` }));
  }
  if (shown === here) await reload();
}

function decodable(path) {
  try { return decodeURIComponent(path) !== ''; } catch { return false; }
}

function go(address) {
  history.pushState(null, '', address);
  scrollTo(0, 0);
  show();
}

function frame(entry) {
  const items = () => MENU.map(({ address, name, letter }) => h('a', { href: `/console/${address}`, title: `g ${letter}`, 'aria-current': entry?.address.split('/')[0] === address ? 'page' : null }, name));
  const bar = h('header.bar', h('a.skip', { href: '#main' }, 'Skip to content'),
    h('a.brand', { href: '/console/flows' }, h('img', { src: '/console/icon.svg', alt: '', width: '22', height: '22' }), 'Flow C'),
    h('form', { role: 'search', onsubmit: found }, h('input', { type: 'search', name: 'ref', 'aria-label': 'Find a flow, ticket, decision or plan by id', placeholder: 'Find an id', 'data-find': true })),
    key.get() && button('Sign out', () => { key.forget(); location.assign('/console/'); }, { class: 'quiet' }),
    button('?', help, { class: 'quiet', 'aria-label': 'Keyboard' }));
  const nav = h('nav', { 'aria-label': 'Pages' }, h('details.menu', h('summary', entry?.name ?? 'Pages'), items()), h('div.items', items()));
  const root = document.querySelector('#root');
  if (root) {
    morph(root.querySelector('.bar'), bar);
    root.querySelector('nav').replaceWith(nav);
  } else document.body.append(h('div', { id: 'root' }, bar, nav, h('main', { id: 'main', tabindex: '-1' })), h('div', { id: 'toasts' }));
}

async function found(event) {
  event.preventDefault();
  const ref = event.target.elements.ref.value.trim();
  if (!ref) return;
  try {
    go(pathOf`/console/flows/${(await api.get('flows/resolve', { ref })).flow_id}`);
  } catch (error) {
    const ticket = await api.get(pathOf`tickets/${ref}`).catch(() => null);
    if (ticket) go(pathOf`/console/tickets/${ref}`);
    else main().replaceChildren(trouble(error));
  }
}

const KEYS = [['/', 'search or filter'], ['j k', 'next and previous row'], ['Enter', 'open the row'], ['Esc', 'close'], ['?', 'this help'], ...MENU.map(({ letter, name }) => [`g ${letter}`, name])];
const help = () => dialog('Keyboard', () => h('dl.keys', KEYS.map(([keys, text]) => h('div', h('dt', h('kbd', keys)), h('dd', text)))));

let pending = false;
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, textarea, select, dialog[open]')) return;
  const { key: letter } = event, went = pending && MENU.find((page) => page.letter === letter);
  pending = letter === 'g';
  if (went) return go(`/console/${went.address}`);
  if (letter === '?') return help();
  if (letter === '/') {
    event.preventDefault();
    return (document.querySelector('[data-search]') ?? document.querySelector('[data-find]')).focus();
  }
  const rows = [...document.querySelectorAll('[data-row]')], at = rows.indexOf(document.activeElement);
  if (letter === 'j' || letter === 'k') rows[Math.max(0, Math.min(rows.length - 1, letter === 'j' ? at + 1 : at - 1))]?.focus();
  if (letter === 'Enter' && at >= 0) go(rows[at].dataset.row);
}

document.addEventListener('keydown', pressed);
document.addEventListener('click', (event) => {
  const anchor = event.target.closest?.('a[href^="/console/"]');
  if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(anchor.getAttribute('href'));
});
addEventListener('popstate', show);
setInterval(() => { if (!document.hidden) document.querySelectorAll('[data-tick]').forEach((node) => node.tick?.(node)); }, 1000);
returned().then(show, (error) => { frame(); signIn(main(), error, show); });
