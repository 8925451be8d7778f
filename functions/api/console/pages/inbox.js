// The inbox: flows and tickets that wait for the decision of whoever looks.

import { pager } from '../lib/act.js';
import { decide } from '../lib/decide.js';
import { h } from '../lib/dom.js';
import { count } from '../lib/format.js';
import { badge, button, empty, flowLink, labels, since, ticketLink } from '../lib/ui.js';

const card = (item, ctx) => h('article.panel', { key: item.ticket_id ?? item.flow_id },
  h('div.row', h('h2.grow.text', item.message), item.until && badge('waiting', ['decide ', since(item.until)])),
  h('p.small.soft', item.ticket_id && ['Task ', ticketLink(item.ticket_id, item.task_id), ' of '], 'flow ', flowLink(item.flow_id, item.plan_id ?? item.decision_id), `. ${item.then} `,
    item.since && ['Waits since ', since(item.since)], '; for ', item.approvers.join(', ') || 'whoever has the role operator', '.', labels(item)),
  h('div.row', button('Approve', () => decide(item, 'approve', ctx.reload), { class: 'main', 'aria-label': `Approve: ${item.message}` }),
    button('Deny', () => decide(item, 'deny', ctx.reload), { class: 'risky', 'aria-label': `Deny: ${item.message}` })));

export const page = {
  every: 20,
  live: (change) => /WAITING|APPROVAL/.test(`${change.from_status} ${change.to_status}`),
  load: (ctx) => ctx.get('inbox', { cursor: ctx.query.cursor }),
  title: ({ items, cursor }) => `Inbox (${items.length}${cursor ? '+' : ''})`,
  view: ({ items, cursor, complete }, ctx) => [
    h('div.row', h('h1.grow', 'Inbox'), items.length > 0 && h('span.soft', `${count(items.length)}${cursor ? ' and more' : ''} wait for you, the earliest deadline first`)),
    !complete && h('p.warn', 'Only the oldest 5,000 were looked at: there may be earlier deadlines.'),
    items.length ? items.map((item) => card(item, ctx)) : empty('Nothing more waits for you', 'A flow waits for a person when its decision asks for a review. Within a plan, a task of type APPROVE asks a question:',
      h('pre', '{"task_id": "agree", "task_type": "APPROVE", "description": "May it be shipped?"}')),
    pager(ctx, cursor),
  ],
};
