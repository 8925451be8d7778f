// Admission: what becomes of new flows while an error budget is spent, or a freeze lasts.

import { doing, REASON } from '../lib/act.js';
import { address, api, path, Problem } from '../lib/api.js';
import { PRIORITIES } from '../lib/commands.js';
import { h } from '../lib/dom.js';
import { counted, span } from '../lib/format.js';
import { looks, pairs, STATUSES } from '../lib/slo.js';
import { badge, choices, empty, table, words } from '../lib/ui.js';
import { inShort, whatIf } from '../lib/what-if.js';

const EXAMPLE = 'flowc slo admission set spent --service shop --action HOLD';
const ACTIONS = [['ADMIT', 'admit it: exempt from policies after this one'], ['LOWER', 'lower its priority'], ['HOLD', 'hold it until the budget has recovered'], ['APPROVE', 'ask a person first'], ['REFUSE', 'refuse it']];
const BANDS = ['low', 'medium', 'high', 'critical'];
const TRIED_DAYS = 7;

/** Ids that can be chosen, with names, and those that are chosen already although nothing has them any more. */
const known = (list, id, chosen = []) => [...list.map((one) => [one[id], [h('span.text', one.name), one.service_name && h('span.soft.text', ` ${one.service_name}`)]]), ...chosen.filter((other) => !list.some((one) => one[id] === other)).map((gone) => [gone, h('code.text', gone)])];
const written = (value) => (value && Object.keys(value).length ? value : undefined);

/** The fields of a policy; a point in a name says that it is a part. */
function fields(one, { slos, freezing }) {
  const { flows = {}, slo_selector: selector = {} } = one ?? {};
  return [
    !one && { name: 'name', label: 'Name', required: true, most: 63 },
    { name: 'description', label: 'What it is for', kind: 'lines', value: one?.description, most: 2000 },
    { name: 'action', label: 'What becomes of a flow', kind: 'choice', options: ACTIONS, value: one?.action, required: true },
    { name: 'priority', label: 'Lower it to', kind: 'choice', options: choices(PRIORITIES), value: one?.priority ?? 'LOW' },
    { name: 'hold_at_most_seconds', label: 'Hold it for at most, in seconds', kind: 'integer', value: one?.hold_at_most_seconds ?? 3600 },
    { name: 'order', label: 'Order', kind: 'integer', value: one?.order ?? 100, help: 'The policy with the lowest number that holds decides alone.' },
    { name: 'flows.service', label: 'Only flows of the service', value: flows.service, most: 200 },
    { name: 'flows.labels', label: 'Only flows with these labels (JSON)', kind: 'json', value: written(flows.labels), hint: '{"team": "shop"}' },
    { name: 'flows.risk_bands', label: 'Only flows with one of these risk bands', kind: 'several', options: choices(BANDS), value: flows.risk_bands },
    { name: 'flows.priorities', label: 'Only flows with one of these priorities', kind: 'several', options: choices(PRIORITIES), value: flows.priorities },
    { name: 'statuses', label: 'While a budget is', kind: 'several', options: choices(STATUSES), value: one?.statuses ?? ['EXHAUSTED'] },
    { name: 'slo_selector.labels', label: 'of objectives with these labels (JSON)', kind: 'json', value: written(selector.labels), hint: '{"team": "shop"}', help: 'Without labels and objectives: those of the service of the flow.' },
    slos.length > 0 && { name: 'slo_selector.slo_ids', label: 'or of these objectives', kind: 'several', options: known(slos, 'slo_id', selector.slo_ids), value: selector.slo_ids },
    freezing.length > 0 && { name: 'freeze_policies', label: 'In place of budgets: while a freeze of one of these lasts', kind: 'several', options: known(freezing, 'policy_id', one?.freeze_policies), value: one?.freeze_policies },
    { name: 'enabled', label: 'Enabled', kind: 'choice', options: [[true, 'yes'], [false, 'no']], value: one?.enabled ?? true },
    REASON,
  ].filter(Boolean);
}

/** The body for what was said in the fields. */
function bodyOf({ name: _name, reason: _reason, ...said }) {
  const body = {};
  for (const [name, value] of Object.entries(said)) {
    const [group, part] = name.split('.');
    if (part) (body[group] ??= {})[part] = value;
    else body[group] = value;
  }
  return body;
}

const wrongName = (message) => Promise.reject(new Problem(422, { detail: message, errors: [{ where: 'name', message }] }));

async function put(one, values) {
  const name = one?.name ?? values.name;
  if (!one && (await api.get('admission-policies')).items.some((other) => other.name === name)) return wrongName('There is one of this name: change that one.');
  return api.put(address(path`admission-policies/${name}`, { reason: values.reason }), bodyOf(values)).then(({ name: made }) => `${made} is stored`,
    (error) => (error.code === 'bad_name' ? wrongName(error.message) : Promise.reject(error)));
}

const asked = (name, one, state, ctx) => doing(name, { title: one ? `Change ${one.name}` : 'A new admission policy', verb: one ? 'Change' : 'Make', main: !one, fields: fields(one, state), done: ctx.reload, run: (values) => put(one, values),
  text: `Processes know of it within ten seconds. A dry run tries it on the last ${TRIED_DAYS} days.`, preview: async (values) => inShort(await api.post('slos/what-if', { policy: bodyOf(values), days: TRIED_DAYS })) });

const changes = (one, state, ctx) => h('div.acts', asked('Change', one, state, ctx), doing('Delete', { title: `Delete ${one.name}`, risky: true, text: 'Flows that it holds go on within a minute.', done: ctx.reload,
  run: ({ reason }) => api.remove(path`admission-policies/${one.name}`, { reason }).then(() => `${one.name} is deleted`) }));

function concerns({ flows }) {
  const { service, labels, risk_bands: bands, priorities } = flows;
  const found = [pairs({ ...(service && { service }), ...labels }), bands.length > 0 && [' risk ', bands.map(words).join(' or ')], priorities.length > 0 && [' priority ', priorities.map(words).join(' or ')]].flat().filter(Boolean);
  return found.length ? found : 'all flows';
}

const holds = (one, freezing) => (one.freeze_policies.length ? ['a freeze lasts of ', h('span.text', one.freeze_policies.map((id) => freezing.find((other) => other.policy_id === id)?.name ?? id).join(' or '))]
  : ['a budget is ', one.statuses.map(words).join(' or '), h('div.small.soft', looks(one, 'of the service of the flow'))]);

const THEN = { LOWER: (one) => `to ${words(one.priority)}`, HOLD: (one) => `up to ${span(one.hold_at_most_seconds * 1000)}` };
const TONES = { ADMIT: 'ok', REFUSE: 'rejected' };

export const page = {
  every: 30,
  async load({ get, signal }) {
    const [{ items }, slos, freezing] = await Promise.all([get('admission-policies'), ...['slos', 'policies'].map((route) => api.all(route, {}, { signal }))]);
    return { items, slos, freezing };
  },
  title: ({ items }) => `Admission (${items.length})`,
  view: (state, ctx) => [
    h('div.row', h('h1.grow', 'Admission'), h('span.soft', counted(state.items.length, 'policy', 'policies')), asked('New policy', null, state, ctx)),
    h('p.soft', 'Each new flow is compared with these policies from the top; the first one that is for it, and holds, decides.'),
    state.items.length ? table([
      ['Order', (one) => one.order, 'nowrap'],
      ['Policy', (one) => [h('b.text', one.name), !one.enabled && [' ', badge('plain', 'disabled')], one.description && h('div.small.soft.text', one.description), h('div.small', whatIf('admission', one.name)), h('div.thin', changes(one, state, ctx))], 'say'],
      ['Flows', concerns],
      ['While', (one) => holds(one, state.freezing), 'say'],
      ['Then', (one) => [badge(TONES[one.action] ?? 'waiting', words(one.action)), THEN[one.action] && h('div.small.soft', THEN[one.action](one))]],
      ['Action', (one) => changes(one, state, ctx), 'wide'],
    ], state.items, (one) => ({ key: one.name }), 'Admission policies, in their order') : empty('No admission policy has been made', 'While the error budget of a service is spent, a policy holds its new flows, lowers them, sends them to a person, or refuses them. To make one:', h('pre', EXAMPLE)),
  ],
};
