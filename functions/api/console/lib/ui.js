// What pages are made of: states, bars, tables, dialogs. The names of states have one colour each everywhere.

import { API, path } from './api.js';
import { h, morph } from './dom.js';
import { count, counted, local, now, span, when } from './format.js';

/** The tone (a class of style.css) of a status of a flow, ticket, worker, breaker or slack. */
const TONES = {
  good: ['completed', 'healthy', 'on_track', 'closed', 'ok', 'compensated'],
  bad: ['failed', 'timed_out', 'rejected', 'unhealthy', 'breached', 'open', 'problem', 'critical', 'bad', 'exhausted', 'fast'],
  warn: ['at_risk', 'awaiting_approval', 'paused', 'degraded', 'half_open', 'waiting', 'compensating', 'warning', 'elevated', 'high', 'warn'],
  busy: ['executing', 'running', 'assigned', 'validating', 'generating', 'publishing', 'in_progress'],
};
const TONE_OF = Object.fromEntries(Object.entries(TONES).flatMap(([tone, words]) => words.map((word) => [word, tone])));
export const tone = (word) => TONE_OF[word?.toLowerCase()] ?? 'plain';

export const words = (word) => (word ?? '–').toLowerCase().replaceAll('_', ' ');

export const capital = (text) => text[0].toUpperCase() + text.slice(1);

export const badge = (word, text = words(word)) => h('span', { class: `badge ${tone(word)}` }, text);

export const link = (to, ...content) => h('a', { href: to }, ...content);
/** Addresses of pages, and links to them. */
export const to = { flow: (id) => path`/console/flows/${id}`, ticket: (id) => path`/console/tickets/${id}`, worker: (id) => path`/console/workers/${id}`, slo: (id) => path`/console/slos/${id}`, insight: (id) => path`/console/insights/${id}` };
export const flowLink = (id, text) => link(to.flow(id), text ?? h('code', id.slice(0, 8)));
export const ticketLink = (id, text) => link(to.ticket(id), text ?? h('code', id.slice(0, 8)));
export const workerLink = (id) => (id ? link(to.worker(id), id) : '–');

/** How much of an SLA is used, and what is left; it counts by itself while the flow is open. */
export function slaBar(flow) {
  const until = Date.parse(flow.sla_deadline), ended = flow.ended_at, still = ended || /PAUSED|APPROVAL/.test(flow.status); // a person is waited for
  const drawn = () => {
    const left = still ? flow.sla_remaining_ms : until - now(), used = Math.min(1, Math.max(0, 1 - left / flow.sla_total_ms));
    const state = left < 0 ? 'bad' : !ended ? (flow.sla_state === 'at_risk' || used > 0.8 ? 'warn' : 'good') : flow.status === 'COMPLETED' ? 'good' : 'plain';
    return h('div', { class: `sla ${state}`, title: `deadline ${local(until)}`, 'data-tick': !still, tick: (node) => morph(node, drawn()) },
      h('div.parts', h('i', { style: { width: `${used * 100}%` } })), left < 0 ? `${span(-left)} ${ended ? 'late' : 'over'}` : `${state === 'good' && ended ? 'met, ' : ''}${span(left)} left`);
  };
  return drawn();
}

export function parts(list) {
  const all = list.reduce((sum, part) => sum + part.count, 0) || 1;
  const title = list.filter((part) => part.count).map((part) => `${part.count} ${part.label}`).join(', ');
  return h('div.parts', { title, role: 'img', 'aria-label': title || 'nothing yet' },
    list.filter((part) => part.count).map((part) => h('i', { class: part.tone, style: { width: `${(part.count / all) * 100}%` } })));
}

const RANK = 'good bad busy warn plain';
/** A bar of tickets by status, `all` of them, and the same as text. */
export function tally(counts, all) {
  const list = Object.entries(counts).filter(([, number]) => number).map(([status, number]) => ({ tone: tone(status), count: number, label: words(status) }))
    .sort((one, other) => RANK.indexOf(one.tone) - RANK.indexOf(other.tone));
  return [parts([...list, { tone: 'none', count: Math.max(0, all - list.reduce((sum, one) => sum + one.count, 0)), label: 'to do' }]),
    h('p.small.soft', list.map((one) => `${count(one.count)} ${one.label}`).join(' · ') || counted(all, 'ticket'))];
}

/** Facts as `[[name, content], …]`; those without content are left out. */
export const facts = (list) => h('dl.facts', list.filter(([, content]) => ![undefined, null, '', false].includes(content) && content.length !== 0)
  .map(([name, content]) => h('div', h('dt', name), h('dd', content))));

/**
 * A table. `columns` are `[name, cell(item), class]`; the class `wide` hides one on a small screen.
 * `row(item)` gives `{key, href}` of a row: with `href`, j, k and Enter walk through the rows.
 */
export const table = (columns, items, row = () => ({}), caption = 'table') => h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': caption }, h('table', h('thead', h('tr', columns.map(([name, , look]) => h('th', { scope: 'col', class: look }, name)))),
    h('tbody', items.map((item) => {
      const { key, href } = row(item);
      return h('tr', { key, 'data-row': href, tabindex: href ? '-1' : null }, columns.map(([, cell, look]) => h('td', { class: look }, cell(item))));
    }))));

export const panel = (title, ...content) => h('section.panel', title && h('h2', title), ...content);

export const empty = (title, ...help) => h('div.empty', h('h2', title), help.map((one) => (typeof one === 'string' ? h('p', one) : one)));

export const button = (text, onclick, more = {}) => h('button', { type: 'button', onclick, ...more }, text);

export const labels = ({ labels: said }) => Object.entries(said).map((pair) => [' ', h('code', pair.join(':'))]);

export const copy = (text, name = 'Copy') => button(name, async (event) => {
  const { target } = event, said = typeof text === 'function' ? text() : text;
  if (!navigator.clipboard) return prompt(name, said); // without HTTPS
  await navigator.clipboard.writeText(said);
  target.textContent = 'Copied';
  setTimeout(() => { target.textContent = name; }, 1200);
}, { class: 'quiet' });

/** The same for a terminal. No command has a key in it. */
export const asCommands = (list, route) => h('details.json.as', h('summary', 'As a command'),
  [...list.map((text) => `${text} --url ${location.origin}`), `curl -s -H "X-API-Key: $FLOWC_API_KEY" '${location.origin}${API}${route}'`].map((text) => h('p.row.small', h('code.grow.text', text), copy(text))));

/** Why something is where it is, as the API says it; `look` is a status. It is open unless it is done. */
export const because = (title, { headline, details, then, next_wakeup_at: at, last_events: events = [] }, look) => h('section', { class: `panel why ${tone(look)}` },
  h('details', { open: tone(look) !== 'good' }, h('summary', h('h2', `${title}: `), h('span.text', headline)),
    h('ul', details.map((line) => h('li.text', line))), then && h('p.text', h('b', 'Then: '), then), at && h('p.small.soft', 'The platform looks at it again ', since(at), '.'),
    events.filter((one) => one.ticket_id).slice(-3).map((one) => h('p.small.soft', { key: one.seq }, since(one.at), ' ', ticketLink(one.ticket_id, one.task_id ?? one.ticket_id), ` ${words(one.to_status ?? one.type)}: ${one.cause}`))));

export const json = (value, { title = 'JSON', open = false } = {}) => h('details.json', { open }, h('summary', title),
  copy(() => JSON.stringify(value, null, 2)), h('pre', { tabindex: '0' }, JSON.stringify(value, null, 2)));

export const field = (label, control) => h('label.field', h('span', label), control);
export const select = (options, value, onchange, more = {}) => h('select', { onchange: (event) => onchange(event.target.value), ...more },
  options.map((option) => { const [id, text] = [option].flat(); return h('option', { value: id, selected: id === value }, text ?? words(id)); }));

/** Words of the API as what a person chooses from. */
export const choices = (list) => list.map((one) => [one, words(one)]);

/** A field that filters what a page shows; `/` leads to it. */
export const search = (ctx, name, label) => field(label, h('input', { type: 'search', name, value: ctx.query[name] ?? '', 'data-search': true, oninput: (event) => ctx.set({ [name]: event.target.value.trim() }) }));

export const tabs = (ctx, name, list, present) => h('div.tabs', { role: 'tablist' }, list.map(([id, text]) =>
  button(text, () => ctx.set({ [name]: id }), { role: 'tab', 'aria-selected': String(id === present), class: 'tab' })));

export function toast(text, kind = 'plain') {
  const line = h('div', { class: `toast ${kind}`, role: 'status' }, text);
  document.querySelector('#toasts').append(line);
  setTimeout(() => line.remove(), kind === 'bad' ? 9000 : 4000);
}

/** Open a dialog over the page; `content(close)` gives its node. */
export function dialog(title, content) {
  const box = h('dialog', { 'aria-label': title, onclose: () => box.remove() }), close = () => box.close();
  box.append(h('header', h('h2', title), button('✕', close, { class: 'quiet', 'aria-label': 'Close' })), content(close));
  document.body.append(box);
  box.showModal();
}

export const trouble = (error, again) => h('div.trouble', { role: 'alert' },
  h('h2', { 0: 'The platform does not answer', 403: 'You may not see this', 404: 'This is not here (any more)' }[error.status] ?? 'That did not work'),
  h('p', error.message), (error.errors ?? []).slice(0, 10).map((one) => h('p.small', `${one.where ?? ''} ${one.message}`)),
  again && button('Try again', again));

export const since = (moment) => when(moment, { ago: true });
