// Audit: what validation found, what people did and what went wrong. Incidents are a page of their own.

import { h } from '../lib/dom.js';
import { badge, empty, field, flowLink, json, search, select, since, table, ticketLink, to, words } from '../lib/ui.js';

const MOST = 200;
const AFFECTED = 5; // tickets of an incident that are named
const KINDS = [['', 'all'], ['validation', 'validations'], ['action', 'actions of people'], ['incident', 'incidents']];
const lines = (list) => list.map((line) => h('div.text.small', line));

const WHAT = {
  validation: (one) => [badge(one.valid ? 'ok' : 'failed', one.valid ? 'valid' : 'not valid'), ` decision ${one.decision_id}`, lines([...one.errors, ...one.warnings].map((reason) => reason.message))],
  action: (one) => [h('b', words(one.action)), ' ', h('code', one.target), lines([one.why])],
  incident: (one) => [badge(one.severity === 'CRITICAL' ? 'problem' : 'degraded', words(one.severity)), ' ', h('b', words(one.incident_type)), one.escalation_required && [' ', badge('at_risk', 'needs a person')], lines(one.details),
    h('div.small', one.affected_tickets.slice(0, AFFECTED).map((id) => [ticketLink(id), ' ']), one.affected_tickets.length > AFFECTED && `and ${one.affected_tickets.length - AFFECTED} more `, one.recommended_playbook && ['playbook ', h('code', one.recommended_playbook)])],
};

const incidents = ({ address }) => address === 'incidents';

export const page = {
  live: true, every: 30,
  load: (ctx) => ctx.get('audits', { kind: incidents(ctx) ? 'incident' : ctx.query.kind, flow_id: ctx.query.flow_id, limit: MOST }),
  title: ({ items }, ctx) => (incidents(ctx) ? `Incidents (${items.length})` : 'Audit'),
  view: ({ items }, ctx) => [
    h('h1', incidents(ctx) ? 'Incidents' : 'Audit'),
    h('div.row.filters', !incidents(ctx) && field('Kind', select(KINDS, ctx.query.kind ?? '', (kind) => ctx.set({ kind }))), search(ctx, 'flow_id', 'Flow (whole id)')),
    items.length ? table([
      ['When', (one) => since(one.at ?? one.checked_at ?? one.created_at), 'nowrap'],
      !incidents(ctx) && ['Who', (one) => h('span.text', one.who ?? 'platform'), 'name'],
      ['What', (one) => WHAT[one.kind](one), 'say'],
      ['Flow', (one) => one.flow_id && flowLink(one.flow_id), 'wide'],
      ['JSON', (one) => json(one, { title: 'all' }), 'wide'],
    ].filter(Boolean), items, (one) => ({ key: one.audit_id ?? one.incident_id, href: one.flow_id && to.flow(one.flow_id) }), 'Audit')
      : incidents(ctx) ? empty('No incidents', 'The platform raises one for trouble that the rules of a flow cannot fix.')
        : empty('No entry', 'Each decision that is checked, and each action of a person, makes one; filters may hide it.'),
  ],
};
