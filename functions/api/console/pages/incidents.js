// Incidents: what went wrong beyond what flows fix by themselves.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { badge, empty, flowLink, search, since, table, ticketLink, words } from '../lib/ui.js';

const AFFECTED = 5;

export const page = {
  live: true,
  load(ctx) {
    again(ctx, 30);
    return api.get('/api/v1/incidents', { flow_id: ctx.query.flow_id, limit: 200 }, ctx.signal);
  },
  title: ({ items }) => `Incidents (${items.length})`,
  view: ({ items }, ctx) => [
    h('h1', {}, 'Incidents'), h('div', { class: 'row filters' }, search(ctx, 'flow_id', 'Flow (whole id)')),
    items.length ? table([
      ['When', (one) => since(one.created_at), 'nowrap'],
      ['Severity', (one) => badge(one.severity === 'CRITICAL' ? 'problem' : 'degraded', words(one.severity)), 'wide'],
      ['What', (one) => [h('b', {}, words(one.incident_type)), one.details.map((line) => h('div', { class: 'text small' }, line)), one.escalation_required && badge('at_risk', 'needs a person')], 'say'],
      ['Tickets', (one) => [one.affected_tickets.slice(0, AFFECTED).map((id) => [ticketLink(id), ' ']), one.affected_tickets.length > AFFECTED && `and ${one.affected_tickets.length - AFFECTED} more`], 'wide'],
      ['Flow', (one) => flowLink(one.flow_id)],
      ['Playbook', (one) => one.recommended_playbook && h('code', {}, one.recommended_playbook), 'wide'],
    ], items, (one) => ({ key: one.incident_id, href: path`/console/flows/${one.flow_id}` }), 'Incidents')
      : empty('No incidents', 'The platform raises one for trouble that the rules of a flow cannot fix. A subscription tells it to others:', h('pre', {}, 'flowc subscriptions create URL --type incident.raised')),
  ],
};
