// What is stuck in all flows: first what the same thing would help, then one by one, those with the least time first.

import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count, counted, span } from '../lib/format.js';
import { badge, button, copy, empty, flowLink, link, panel, since, table, ticketLink, words } from '../lib/ui.js';

const slack = ({ slack_ms: ms }) => (ms === null || ms === undefined ? '–' : h('b', { class: ms < 0 ? 'bad' : 'nowrap' }, ms < 0 ? `${span(-ms)} too late` : span(ms)));
const subject = (one) => (one.ticket_id ? [ticketLink(one.ticket_id, one.task_id), h('div', { class: 'small soft' }, 'of ', flowLink(one.flow_id))] : ['Flow ', flowLink(one.flow_id)]);

const group = (one) => h('section', { class: 'panel', key: one.sentence }, h('div', { class: 'row' }, h('b', { class: 'number' }, count(one.count)), h('h2', { class: 'grow text' }, one.sentence)),
  one.remedy && [h('p', { class: 'small soft' }, 'This helps:'), h('div', { class: 'row' }, h('code', { class: 'grow text' }, one.remedy), copy(one.remedy))]);

export const page = {
  live: true,
  load: (ctx) => api.get('/api/v1/stuck', {}, ctx.signal),
  title: ({ items }) => (items.length ? `Stuck (${items.length})` : 'Nothing is stuck'),
  view: ({ items, groups, looked_at: seen, complete }, ctx) => {
    const kinds = [...new Set(items.map((one) => one.waits_for))], { kind } = ctx.query;
    return [
      h('h1', {}, 'What is stuck'),
      items.length ? [
        h('div', { class: 'grid' }, groups.map(group)),
        kinds.length > 1 && h('div', { class: 'row', role: 'group', 'aria-label': 'What is waited for' }, [undefined, ...kinds].map((one) =>
          button(one ? words(one) : 'All', () => ctx.set({ kind: one }), { class: 'tab small', 'aria-pressed': String(one === kind) }))),
        table([
          { name: 'Time left', cell: slack },
          { name: 'What waits', cell: subject },
          { name: 'Why', cell: (one) => h('span', { class: 'text' }, one.headline) },
          { name: 'For', cell: (one) => badge(one.status, words(one.waits_for ?? one.status)), narrow: false },
          { name: 'Since', cell: (one) => since(one.since), class: 'nowrap', narrow: false },
          { name: 'Next wake-up', cell: (one) => since(one.next_wakeup_at), class: 'nowrap', narrow: false },
        ], items.filter((one) => !kind || one.waits_for === kind), (one) => ({ key: one.ticket_id ?? one.flow_id, href: one.ticket_id ? `/console/tickets/${one.ticket_id}` : `/console/flows/${one.flow_id}` }), 'What is stuck, the least time first'),
      ] : empty('Nothing is stuck', 'Every open flow goes on. Whatever waits for a worker, a person or an event is shown here with the reason, the worst first. For one flow:', h('pre', {}, 'flowc why FLOW')),
      h('p', { class: 'small soft' }, complete ? `All ${counted(seen, 'record')} that are open were looked at.` : `The ${counted(seen, 'record')} with the least time were looked at; there are more.`),
    ];
  },
};
