// Incidents: what went wrong beyond what flows fix by themselves.

import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { badge, empty, flowLink, since, table } from '../lib/ui.js';

export const page = {
  live: true,
  load: (ctx) => api.get('/api/v1/incidents', { flow_id: ctx.query.flow_id, limit: 200 }, ctx.signal),
  title: ({ items }) => `Incidents (${items.length})`,
  view: ({ items }) => [
    h('h1', {}, 'Incidents'),
    items.length ? table([
      { name: 'When', cell: (one) => since(one.at), class: 'nowrap' },
      { name: 'Kind', cell: (one) => badge('problem', one.incident ?? one.code) },
      { name: 'What', cell: (one) => h('span', { class: 'text' }, one.message ?? one.reason?.message ?? '') },
      { name: 'Flow', cell: (one) => (one.flow_id ? flowLink(one.flow_id) : '–'), narrow: false },
    ], items, (one) => ({ key: one.audit_id, href: one.flow_id && `/console/flows/${one.flow_id}` }), 'Incidents')
      : empty('No incidents', 'The platform writes one when something is wrong that flows cannot fix by themselves: records that cannot be read, deadlines that nobody can meet.'),
  ],
};
