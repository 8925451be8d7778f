// What went into a flow and came out: decision, result, parameters, outputs and logs; all records as JSON.

import { api, path } from '../../lib/api.js';
import { h } from '../../lib/dom.js';
import { bytes } from '../../lib/format.js';
import { badge, button, copy, json, panel, ticketLink } from '../../lib/ui.js';
import { once, virtual } from '../../lib/virtual.js';

const SHOWN = 100_000; // characters of a text that are shown; copied and saved is all of it

export function data(ctx, run) {
  const at = path`/api/v1/flows/${run.id}`, tickets = [...run.tickets.values()];
  const picked = run.tickets.get(ctx.query.pick) ?? tickets.find((ticket) => ticket.output !== null) ?? tickets[0];
  const get = (title, route) => lazy(ctx, title, () => api.get(route));
  return [
    panel('Input and result', get('Decision', `${at}/decision`), run.flow.ended_at ? get('Result', `${at}/result`) : h('p', { class: 'soft' }, 'The result comes at the end of the flow.')),
    picked && panel('Tickets', h('div', { class: 'split' },
      virtual(ctx, 'outputs', tickets, 30, (ticket) => h('div', { class: `line${ticket === picked ? ' on' : ''}`, role: 'listitem', key: ticket.ticket_id },
        button(ticket.task_id, () => ctx.set({ pick: ticket.ticket_id }), { class: 'quiet name', 'aria-pressed': String(ticket === picked) }), badge(ticket.status), ticket.log_bytes > 0 && h('span', { class: 'soft' }, 'log')), 'Tickets'),
      h('div', { key: picked.ticket_id }, h('p', { class: 'text' }, ticketLink(picked.ticket_id, picked.task_id), ' ', badge(picked.status), ` ${picked.description}`),
        picked.reason && h('p', { class: 'bad text' }, `${picked.reason.code}: ${picked.reason.message}`), picked.item !== null && json(picked.item, { title: 'Item', open: true }), json(picked.parameters, { title: 'Parameters', open: true }),
        picked.output === null ? h('p', { class: 'soft' }, 'No output yet.') : json(picked.output, { title: 'Output', open: true }),
        picked.log_bytes > 0 && lazy(ctx, `Log of ${picked.task_id}, ${bytes(picked.log_bytes)}`, async () => (await api.get(path`/api/v1/tickets/${picked.ticket_id}/logs`)).text)))),
    panel('Records as JSON', get('Flow', at), get('Why', path`/api/v1/why/${run.id}`), lazy(ctx, 'Tickets', () => api.all(`${at}/tickets`, {}, { most: Infinity })), lazy(ctx, 'History', async () => run.entries), get('Replay: the state that the history tells', `${at}/replay`)),
  ];
}

/** A part that is read when it is opened, and again when it is opened again. */
function lazy(ctx, title, read) {
  const opened = ctx.local.opened ??= new Set();
  const ontoggle = ({ currentTarget: part }) => {
    if (part.open === opened.has(title)) return;
    if (part.open) opened.add(title);
    else opened.delete(title) && ctx.local.once?.delete(title);
    ctx.render();
  };
  const known = opened.has(title) ? once(ctx, title, async () => { const value = await read(); return typeof value === 'string' ? value : JSON.stringify(value, null, 2); }) : undefined;
  const text = known?.message ?? known;
  return h('details', { class: 'json', key: title, ontoggle }, h('summary', {}, title), text === undefined ? h('p', { class: 'soft' }, 'Reading…') : [copy(text), button('Save', () => save(title, text), { class: 'quiet' }),
    h('pre', { tabindex: '0' }, text.slice(0, SHOWN), text.length > SHOWN && '\n… the rest is copied and saved')]);
}

function save(title, text) {
  const href = URL.createObjectURL(new Blob([text]));
  Object.assign(document.createElement('a'), { href, download: `${title.split(/\W/)[0]}.json` }).click();
  URL.revokeObjectURL(href);
}
