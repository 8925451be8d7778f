// Dead letters: events that could not be handled, to read, replay or drop.

import { act, again, each, found, pager } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { counted, when } from '../lib/format.js';
import { badge, button, empty, facts, flowLink, json, link, panel, since, table } from '../lib/ui.js';

const ROUTES = { replay: (id, query) => api.post(`${path`/api/v1/dead-letters/${id}/replay`}?${new URLSearchParams(query)}`), drop: (id, query) => api.remove(path`/api/v1/dead-letters/${id}`, query) };
const WORDS = { replay: ['Replay', 'Its event is queued again, and the letter goes. An event that still cannot be handled makes a new letter.', 'Their events are queued again, and the letters go. Those that still cannot be handled make new letters.'],
  drop: ['Drop', 'Its event is gone then.', 'Their events are gone then.'] };
const address = (id) => `/console/dead-letters?letter=${encodeURIComponent(id)}`;

/** Replay or drop letters after a person has seen how many they are. */
function all(verb, ids, ctx) {
  const [name, one, many] = WORDS[verb];
  const what = counted(ids.length, 'dead letter');
  return act(`${name} ${what}`, { text: ids.length === 1 ? one : many, verb: `${name} ${what}`, risky: verb === 'drop',
    done: () => { ids.forEach((id) => ctx.local.chosen.delete(id)); return ctx.query.letter ? ctx.set({ letter: '' }) : ctx.reload(); },
    async run({ reason }, told) {
      const failed = await each(ids, (id) => ROUTES[verb](id, reason ? { reason } : {}), told);
      if (!failed.length) return `${name}: ${what}`;
      return [h('p', { class: 'bad', role: 'alert' }, `${counted(failed.length, 'letter')} stayed, ${ids.length - failed.length} done:`), h('ul', {}, [...new Set(failed)].slice(0, 10).map((line) => h('li', { class: 'text' }, line)))];
    } });
}

const reading = (letter, ctx) => panel('A dead letter', h('div', { class: 'row' }, button('Replay', () => all('replay', [letter.letter_id], ctx), { class: 'main' }), button('Drop', () => all('drop', [letter.letter_id], ctx), { class: 'risky' }),
  h('span', { class: 'grow' }), button('Close', () => ctx.set({ letter: '' }), { class: 'quiet' })),
h('p', { class: 'text' }, h('b', {}, letter.reason.message)), facts([['Code', h('code', {}, letter.reason.code)], ['Where', letter.reason.where], ['Function', letter.function], ['Attempts', letter.attempts], ['First', when(letter.first_seen)],
  ['Last', when(letter.last_seen)], ['Flow', letter.flow_id && flowLink(letter.flow_id)], ['Type', letter.event.type], ['Id', h('code', {}, letter.letter_id)]]), json(letter.event, { title: 'Event', open: true }));

export const page = {
  live: true,
  async load(ctx) {
    ctx.local.chosen ??= new Set();
    again(ctx, 20);
    const [list, letter] = await Promise.all([api.get('/api/v1/dead-letters', { cursor: ctx.query.cursor }, ctx.signal),
      ctx.query.letter && found(api.get(path`/api/v1/dead-letters/${ctx.query.letter}`, {}, ctx.signal))]);
    return { ...list, letter };
  },
  title: ({ items, cursor }) => `Dead letters (${items.length}${cursor ? '+' : ''})`,
  view({ items, cursor, letter }, ctx) {
    const { chosen } = ctx.local;
    const ids = items.map((one) => one.letter_id).filter((id) => chosen.has(id));
    const choose = (event, list) => {
      list.forEach((id) => (event.target.checked ? chosen.add(id) : chosen.delete(id)));
      event.target.closest('table').querySelectorAll('tbody [type=checkbox]').forEach((box) => { box.checked = chosen.has(box.value); });
      ctx.render();
    };
    return [
      h('h1', {}, 'Dead letters'),
      ctx.query.letter && (letter ? reading(letter, ctx) : h('p', { class: 'warn' }, 'That letter is gone: it was replayed or dropped.')),
      items.length > 0 && h('div', { class: 'row' }, h('span', { class: 'grow soft', 'aria-live': 'polite' }, ids.length ? `${ids.length} of ${counted(items.length, 'letter')} of this page chosen` : 'Choose letters to replay or drop several at once.'),
        ['replay', 'drop'].map((verb) => button(`${WORDS[verb][0]} ${ids.length || ''}`, () => all(verb, ids, ctx), { disabled: !ids.length, class: verb === 'drop' ? 'risky' : '' }))),
      items.length ? table([
        [h('input', { type: 'checkbox', 'aria-label': 'Choose all of this page', onchange: (event) => choose(event, items.map((one) => one.letter_id)) }), (one) => h('input', { type: 'checkbox', value: one.letter_id, 'aria-label': `Choose ${one.letter_id}`, checked: chosen.has(one.letter_id), onchange: (event) => choose(event, [one.letter_id]) }), 'tick'],
        ['Last', (one) => since(one.last_seen), 'nowrap'],
        ['Why', (one) => [link(address(one.letter_id), h('span', { class: 'text' }, one.reason.message)), h('div', {}, badge('failed', one.reason.code))], 'say'],
        ['Event', (one) => h('code', {}, one.event.type ?? '–'), 'wide'],
        ['Function', (one) => one.function, 'wide'],
        ['Attempts', (one) => one.attempts, 'right wide'],
        ['Flow', (one) => (one.flow_id ? flowLink(one.flow_id) : '–'), 'wide'],
      ], items, (one) => ({ key: one.letter_id, href: address(one.letter_id) }), 'Dead letters')
        : empty('No dead letters', 'An event that cannot be handled after several attempts, or was refused for what it is, would be kept here: to read, to replay once its cause is gone, or to drop.', h('pre', {}, 'flowc dead-letters list')),
      pager(ctx, cursor),
    ];
  },
};
