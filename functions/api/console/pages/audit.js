// Audit: what validation found, what people did and what went wrong.

import { again, search } from '../lib/act.js';
import { api } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { badge, empty, field, flowLink, json, select, since, table, words } from '../lib/ui.js';

const MOST = 200;
const KINDS = [['', 'all'], ['validation', 'validations'], ['action', 'actions of people'], ['incident', 'incidents']];
const at = (one) => one.at ?? one.checked_at ?? one.created_at;

const WHAT = {
  validation: (one) => [badge(one.valid ? 'ok' : 'failed', one.valid ? 'valid' : 'not valid'), ` decision ${one.decision_id}`,
    [...one.errors, ...one.warnings].map((reason) => h('div', { class: 'text small' }, reason.message))],
  action: (one) => [h('b', {}, words(one.action)), ' ', h('code', {}, one.target), h('div', { class: 'text small' }, one.why)],
  incident: (one) => [badge('problem', words(one.incident_type)), one.details.map((line) => h('div', { class: 'text small' }, line))],
};

export const page = {
  live: true,
  load(ctx) {
    again(ctx, 30);
    const { kind, flow_id: flow, valid } = ctx.query;
    return api.get('/api/v1/audits', { kind, flow_id: flow, valid, limit: MOST }, ctx.signal);
  },
  title: () => 'Audit',
  view({ items }, ctx) {
    const { kind = '', valid = '', flow_id: flow } = ctx.query;
    return [
      h('h1', {}, 'Audit'),
      h('div', { class: 'row filters' }, field('Kind', select(KINDS, kind, (value) => ctx.set({ kind: value, valid: value === 'validation' ? valid : '' }))),
        field('Valid', select([['', 'all'], ['true', 'valid'], ['false', 'not valid']], valid, (value) => ctx.set({ valid: value, kind: value ? 'validation' : kind }))), search(ctx, 'flow_id', 'Flow (whole id)')),
      items.length ? table([
        ['When', (one) => since(at(one)), 'nowrap'],
        ['Who', (one) => (one.kind === 'action' ? h('span', { class: 'text' }, one.who) : h('span', { class: 'soft' }, 'platform')), 'name'],
        ['What', (one) => WHAT[one.kind](one), 'say'],
        ['Flow', (one) => (one.flow_id ? flowLink(one.flow_id) : '–'), 'wide'],
        ['', (one) => json(one, { title: 'all' }), 'wide'],
      ], items, (one) => ({ key: one.audit_id ?? one.incident_id, href: one.flow_id && `/console/flows/${one.flow_id}` }), 'Audit')
        : empty('Nothing is written here', kind || flow || valid ? 'No entry fits these filters.' : 'Each decision that is checked, and each action of a person, makes an entry.', h('pre', {}, 'flowc audits')),
      items.length === MOST && h('p', { class: 'soft' }, `The newest ${MOST} are shown: a flow or a kind finds older ones.`),
    ];
  },
};
