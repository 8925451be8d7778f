// Audit: what validation found, what people did and what went wrong.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { badge, empty, field, flowLink, json, search, select, since, table, words } from '../lib/ui.js';

const MOST = 200;
const KINDS = [['', 'all'], ['validation', 'validations'], ['action', 'actions of people'], ['incident', 'incidents']];
const lines = (list) => list.map((line) => h('div', { class: 'text small' }, line));

const WHAT = {
  validation: (one) => [badge(one.valid ? 'ok' : 'failed', one.valid ? 'valid' : 'not valid'), ` decision ${one.decision_id}`, lines([...one.errors, ...one.warnings].map((reason) => reason.message))],
  action: (one) => [h('b', {}, words(one.action)), ' ', h('code', {}, one.target), lines([one.why])],
  incident: (one) => [badge('problem', words(one.incident_type)), lines(one.details)],
};

export const page = {
  live: true,
  load(ctx) {
    again(ctx, 30);
    return api.get('/api/v1/audits', { kind: ctx.query.kind, flow_id: ctx.query.flow_id, limit: MOST }, ctx.signal);
  },
  view: ({ items }, ctx) => [
    h('h1', {}, 'Audit'),
    h('div', { class: 'row filters' }, field('Kind', select(KINDS, ctx.query.kind ?? '', (kind) => ctx.set({ kind }))), search(ctx, 'flow_id', 'Flow (whole id)')),
    items.length ? table([
      ['When', (one) => since(one.at ?? one.checked_at ?? one.created_at), 'nowrap'],
      ['Who', (one) => (one.kind === 'action' ? h('span', { class: 'text' }, one.who) : h('span', { class: 'soft' }, 'platform')), 'name'],
      ['What', (one) => WHAT[one.kind](one), 'say'],
      ['Flow', (one) => one.flow_id && flowLink(one.flow_id), 'wide'],
      ['', (one) => json(one, { title: 'all' }), 'wide'],
    ], items, (one) => ({ key: one.audit_id ?? one.incident_id, href: one.flow_id && path`/console/flows/${one.flow_id}` }), 'Audit')
      : empty('No entry', 'Each decision that is checked, and each action of a person, makes one; filters may hide it.', h('pre', {}, 'flowc audits')),
    items.length === MOST && h('p', { class: 'soft' }, `The newest ${MOST} are shown: a flow or a kind finds older ones.`),
  ],
};
