// What went into a flow and came out: decision, result, parameters, outputs and logs; all records as JSON.

import { path } from '../../lib/api.js';
import { h } from '../../lib/dom.js';
import { bytes } from '../../lib/format.js';
import { badge, copy, field, json, panel, ticketLink } from '../../lib/ui.js';
import { once } from '../../lib/virtual.js';

const SHOWN = 100_000; // characters; all is copied

export function data(ctx, run) {
  const at = path`flows/${run.id}`, tickets = [...run.tickets.values()];
  const picked = run.tickets.get(ctx.query.pick) ?? tickets.find((ticket) => ticket.output !== null) ?? tickets[0];
  const get = (title, route) => lazy(ctx, title, () => ctx.get(route));
  return [
    panel('Input and result', get('Decision', `${at}/decision`), run.flow.ended_at ? get('Result', `${at}/result`) : h('p.soft', 'The result comes at the end of the flow.')),
    picked && panel('A ticket', field('Ticket', h('input', { key: picked.ticket_id, list: 'tickets', value: picked.task_id, onchange: ({ target }) => ctx.set({ pick: tickets.find((one) => one.task_id === target.value)?.ticket_id }) })),
      h('datalist', { id: 'tickets' }, tickets.slice(0, 200).map((one) => h('option', one.task_id))),
      h('div', { key: picked.ticket_id }, h('p', ticketLink(picked.ticket_id, picked.task_id), ' ', badge(picked.status), ` ${picked.description}`),
        picked.reason && h('p.bad.text', `${picked.reason.code}: ${picked.reason.message}`), json(picked.parameters, { title: 'Parameters', open: true }),
        json(picked.output, { title: 'Output', open: true }),
        picked.log_bytes > 0 && lazy(ctx, `Log of ${picked.task_id}, ${bytes(picked.log_bytes)}`, async () => (await ctx.get(path`tickets/${picked.ticket_id}/logs`)).text))),
    panel('Records as JSON', get('Flow', at), get('Why', path`why/${run.id}`), lazy(ctx, 'Tickets', async () => tickets), lazy(ctx, 'History', async () => run.entries), get('Replay: the state that the history tells', `${at}/replay`)),
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
  return h('details.json', { key: title, ontoggle }, h('summary', title), text === undefined ? h('p.soft', 'Reading…')
    : [copy(text), h('pre', { tabindex: '0' }, text.slice(0, SHOWN))]);
}
