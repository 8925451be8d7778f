// Dead letters: events that could not be handled, to read, replay or drop.

import { act, each, found, pager } from '../lib/act.js';
import { address, api, path, Problem } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, when } from '../lib/format.js';
import { badge, button, empty, facts, flowLink, json, link, panel, since, table } from '../lib/ui.js';

const here = (id) => `/console/dead-letters?letter=${encodeURIComponent(id)}`;
const WAYS = {
  Replay: { text: 'The event is queued again, and the letter goes. An event that still cannot be handled makes a new letter.', send: (route, query) => api.post(address(`${route}/replay`, query)) },
  Drop: { text: 'The event is gone then.', send: (route, query) => api.remove(route, query), risky: true },
};

/** Buttons that replay or drop letters after a person has seen how many they are. */
const ways = (ids, ctx, told = '') => Object.entries(WAYS).map(([name, { text, send, risky }]) => button(name + told, () => act(`${name} ${counted(ids.length, 'dead letter')}`, {
  text, risky, done: () => { ctx.local.chosen.clear(); ctx.set({ letter: '' }); },
  async run({ reason }, shown) {
    const failed = (await each(ids, (id) => send(path`dead-letters/${id}`, { reason }), shown)).filter((answer) => answer instanceof Problem);
    return failed.length ? [h('p.bad', { role: 'alert' }, `${counted(failed.length, 'letter')} stayed:`), ...new Set(failed.slice(0, 10).map((one) => one.message))] : `${name}: ${counted(ids.length, 'dead letter')}`;
  } }), { disabled: !ids.length, class: risky ? 'risky' : '' }));

const reading = (letter, ctx) => panel('A dead letter', h('div.row', ways([letter.letter_id], ctx), h('span.grow'), button('Close', () => ctx.set({ letter: '' }), { class: 'quiet' })),
  h('p.text', h('b', letter.reason.message)), facts([['Code', h('code', letter.reason.code)], ['Where', letter.reason.where], ['Function', letter.function], ['Attempts', letter.attempts], ['First', when(letter.first_seen)], ['Last', when(letter.last_seen)], ['Id', h('code', letter.letter_id)]]), json(letter.event, { title: 'Event', open: true }));

export const page = {
  live: true, every: 20,
  async load(ctx) {
    ctx.local.chosen ??= new Set();
    const { cursor, letter } = ctx.query, get = (route, query) => ctx.get(route, query);
    const [list, one] = await Promise.all([get('dead-letters', { cursor }), letter && found(get(path`dead-letters/${letter}`))]);
    return { ...list, one };
  },
  title: ({ items, cursor }) => `Dead letters (${items.length}${cursor ? '+' : ''})`,
  view({ items, cursor, one: letter }, ctx) {
    const { chosen } = ctx.local, all = items.map((one) => one.letter_id), ids = all.filter((id) => chosen.has(id));
    const choose = (list) => ({ target }) => {
      list.forEach((id) => (target.checked ? chosen.add(id) : chosen.delete(id)));
      target.closest('table').querySelectorAll('tbody [type=checkbox]').forEach((box) => { box.checked = chosen.has(box.value); });
      ctx.render();
    };
    return [
      h('h1', 'Dead letters'),
      letter && reading(letter, ctx),
      items.length > 0 && h('div.row', h('span.grow.soft', { 'aria-live': 'polite' }, `${ids.length} of ${counted(items.length, 'letter')} of this page chosen`), ways(ids, ctx, ` ${ids.length}`)),
      items.length ? table([
        [h('input', { type: 'checkbox', 'aria-label': 'Choose all of this page', onchange: choose(all) }), ({ letter_id: id }) => h('input', { type: 'checkbox', value: id, 'aria-label': `Choose ${id}`, checked: chosen.has(id), onchange: choose([id]) }), 'tick'],
        ['Last', (one) => since(one.last_seen), 'nowrap'],
        ['Why', (one) => [link(here(one.letter_id), h('span.text', one.reason.message)), h('div', badge('failed', one.reason.code))], 'say'],
        ['Event', (one) => h('code', one.event.type), 'wide'],
        ['Flow', (one) => one.flow_id && flowLink(one.flow_id), 'wide'],
      ], items, (one) => ({ key: one.letter_id, href: here(one.letter_id) }), 'Dead letters')
        : empty('No dead letters', 'An event that cannot be handled would be kept here: to read, to replay once its cause is gone, or to drop.'),
      pager(ctx, cursor),
    ];
  },
};
