// One ticket: why it is where it is, where its time went, who did it and why that worker, inputs, output, log and commands.

import { again } from '../lib/act.js';
import { api, path } from '../lib/api.js';
import { commandButtons } from '../lib/commands.js';
import { decide } from '../lib/decide.js';
import { h } from '../lib/dom.js';
import { bytes, local, now, percent, span } from '../lib/format.js';
import { ENDED, segments } from '../lib/run.js';
import { badge, button, copy, facts, flowLink, json, link, panel, parts, since, table, ticketLink, words } from '../lib/ui.js';

const NEAR = 12; // tickets before and behind this one that are read
const CHILDREN = 100;
const GRACE = 3600e3; // how long a token holds beyond the time that an attempt may take
const SHARES = [['health_score', 'health', 0.4], ['pheromone_score', 'pheromone', 0.3], ['telemetry_score', 'telemetry', 0.3]];
const KINDS = { blocked: 'waited for others', waiting: 'waiting', assigned: 'assigned', working: 'working', retrying: 'pause before a retry', slack: 'slack left' };

async function load(ctx) {
  const { params: { ticket_id: id }, local: kept } = ctx;
  const get = (route, query) => api.get(route, query, ctx.signal), near = kept.near ??= new Map();
  const [ticket, why] = await Promise.all([get(path`/api/v1/tickets/${id}`), get(path`/api/v1/why/${id}`), history(kept, id, get)]);
  const known = (other) => ENDED.has(near.get(other)?.status) || get(path`/api/v1/tickets/${other}`).then((one) => near.set(other, one), () => null);
  const [flow, children, log, approval] = await Promise.all([get(path`/api/v1/flows/${ticket.flow_id}`),
    ticket.children && get('/api/v1/tickets', { flow_id: ticket.flow_id, parent: id, limit: CHILDREN }), ticket.log_bytes > 0 && get(path`/api/v1/tickets/${id}/logs`),
    ticket.task_type === 'APPROVE' && get(path`/api/v1/tickets/${id}/approval`).catch(() => null),
    ...[ticket.parent ?? [], ticket.dependencies.slice(0, NEAR), ticket.dependants.slice(0, NEAR)].flat().map(known)]);
  if (ticket.status === 'RUNNING') again(ctx, 3); // progress comes without an event
  return { ticket, why, entries: kept.entries, flow, children, log, approval, near };
}

async function history(kept, id, get) {
  kept.entries ??= [];
  for (let complete = false; !complete;) {
    const page = await get(path`/api/v1/tickets/${id}/history`, { since_seq: kept.after, limit: 500 });
    kept.entries = [...kept.entries, ...page.items];
    ({ after: kept.after, complete } = page);
  }
}

const worker = (id) => (id ? link(path`/console/workers/${id}`, id) : '–');
const soft = (...content) => h('p', { class: 'small soft' }, ...content);

const explained = (why) => h('section', { class: `panel why ${{ breached: 'bad', at_risk: 'warn' }[why.slack_state] ?? 'plain'}` }, h('h2', {}, 'Why it is where it is'), h('p', { class: 'text' }, why.headline),
  why.details.length > 0 && h('ul', {}, why.details.map((line) => h('li', { class: 'text' }, line))), why.then && h('p', { class: 'text' }, why.then), why.next_wakeup_at && soft('The platform looks at it again ', since(why.next_wakeup_at), '.'));

const asks = (one, ctx) => one && panel('The question', h('p', { class: 'text' }, h('b', {}, one.message)),
  one.decision ? [badge(one.decision === 'approved' ? 'completed' : 'failed', one.decision), json(one.output, { title: 'The decision', open: true })]
    : one.status !== 'WAITING' ? soft('Nobody is asked now.') : [soft('It is for ', one.approvers.join(', ') || 'whoever has the role operator', '. ', one.until && ['It can be decided until then: ', since(one.until), '. '], one.then),
      one.may_decide ? h('div', { class: 'row' }, button('Approve…', () => decide(one, 'approve', ctx.reload), { class: 'main' }), button('Deny…', () => decide(one, 'deny', ctx.reload), { class: 'risky' })) : h('p', {}, 'You may not decide this.')],
  one.form && json(one.form, { title: 'Its form, a JSON Schema' }));

function timing({ ticket, entries, near }) {
  const list = segments(ticket, { moves: new Map([[ticket.ticket_id, entries.filter((entry) => entry.to_status)]]), tickets: near }, now());
  const ended = ENDED.has(ticket.status), deadline = Date.parse(ticket.sla.deadline), from = Date.parse(ticket.created_at);
  const end = list.findLast((one) => one.kind !== 'slack')?.until ?? from, until = Math.max(deadline, end) + 1;
  const x = (moment) => ((Math.min(until, Math.max(from, moment)) - from) / (until - from)) * 100;
  const sums = Object.keys(KINDS).map((kind) => [kind, list.reduce((sum, one) => sum + (one.kind === kind ? one.until - one.from : 0), 0)]).filter(([, ms]) => ms > 0);
  const told = sums.map(([kind, ms]) => `${KINDS[kind]} ${span(ms)}`);
  return panel('Time against the deadline', h('div', { class: 'bars whole', role: 'img', 'aria-label': told.join(', ') }, list.map((one) => h('i', { class: one.kind, style: { left: `${x(one.from)}%`, width: `${x(one.until) - x(one.from)}%` } })),
    h('b', { class: 'due', title: `deadline ${local(ticket.sla.deadline)}`, style: { left: `${x(deadline)}%` } })),
  h('div', { class: 'legend small soft' }, sums.map(([kind], index) => h('span', {}, h('i', { class: `key ${kind}` }), ` ${told[index]}`)), h('span', {}, h('b', { class: 'bad' }, '| '), end > deadline ? h('b', { class: 'bad' }, `deadline, ${span(end - deadline)} late`) : 'deadline')),
  facts([['To be done by', since(ticket.sla.deadline)], ['To be started by', !ended && since(ticket.latest_start)], ['Estimate', span(ticket.estimated_duration_ms)],
    ['Worked', ticket.actual_duration_ms !== null && span(ticket.actual_duration_ms)], ['An attempt may take', span(ticket.sla.timeout_ms)], ['Progress', ticket.progress !== null && percent(ticket.progress)], ['Created', since(ticket.created_at)]]));
}

/** One record for each attempt, the newest first: who, when, and how it ended. */
function attempts(entries) {
  const all = new Map();
  for (const { attempt, worker_id, to_status: status, at, detail, cause } of entries) {
    if (!attempt || !status) continue;
    const one = all.get(attempt) ?? { number: attempt };
    all.set(attempt, one);
    one.worker = worker_id ?? one.worker;
    if (status === 'ASSIGNED') one.assigned = at;
    else if (status !== 'RUNNING' && !one.ended) Object.assign(one, { ended: at, status, why: detail.reason?.message ?? (status !== 'COMPLETED' && cause) });
  }
  return [...all.values()].reverse();
}

function tried({ ticket, entries }) {
  const list = attempts(entries);
  if (ticket.control && !list.length) return null;
  return panel(`Attempts: ${list.length} of ${ticket.sla.max_retries + 1}`, list.length ? table([{ name: '№', cell: (one) => one.number }, { name: 'Worker', cell: (one) => worker(one.worker) },
    { name: 'Result', cell: (one) => [one.status === 'PENDING' ? badge('failed', 'tried again') : badge(one.status ?? ticket.status), one.why && h('div', { class: 'small text' }, one.why)] },
    { name: 'Assigned', cell: (one) => since(one.assigned), narrow: false }, { name: 'Took', cell: (one) => (one.assigned ? span((one.ended ? Date.parse(one.ended) : now()) - Date.parse(one.assigned)) : '–'), class: 'nowrap' }],
  list, (one) => ({ key: one.number }), 'Attempts') : soft('No worker has had it yet.'),
  ['ASSIGNED', 'RUNNING'].includes(ticket.status) && soft(`The token of attempt ${ticket.attempt} is for worker ${ticket.worker_id} and for this ticket alone. It ends with the attempt, or `, since(new Date(Date.parse(ticket.assigned_at) + ticket.sla.timeout_ms + GRACE).toISOString()), '. It is shown to nobody.'));
}

function chosen({ ticket, why }) {
  const { candidates, refusals } = why.candidates.length + why.refusals.length ? why : ticket;
  if (ticket.control && !candidates.length && !refusals.length) return null;
  const shares = (one) => h('div', { class: 'score small' }, SHARES.map(([name, text, weight]) => h('span', {}, parts([{ tone: 'busy', count: one[name], label: text }, { tone: 'none', count: 1 - one[name], label: 'missing' }]), `${text} ${percent(one[name])} × ${weight}`)));
  return panel(ticket.status === 'PENDING' ? 'Which worker would get it' : 'Why this worker', why.ranked_at && soft('Ranked ', since(why.ranked_at), '.'),
    candidates.length > 0 && table([{ name: 'Worker', cell: (one) => [worker(one.worker_id), one.worker_id === ticket.worker_id && [' ', badge('running', 'chosen')], h('div', { class: 'small soft' }, `${one.active} of ${one.slots} slots used`)] },
      { name: 'Score', cell: (one) => h('b', {}, one.score.toFixed(2)) }, { name: 'Its parts', cell: shares }], candidates, (one) => ({ key: one.worker_id }), 'Candidates'),
    refusals.length > 0 && table([{ name: 'Left out', cell: (one) => worker(one.worker_id) }, { name: 'Because it', cell: (one) => one.reason, class: 'text' }], refusals, (one) => ({ key: one.worker_id }), 'Left out'),
    !candidates.length && !refusals.length && [soft('No worker is known. Start one:'), h('pre', {}, `flowc worker ${ticket.required_capabilities.map((one) => `-c ${one} `).join('')}--shell 'echo done'`)]);
}

/** References within parameters, as `[where, reference, kind]`. */
function references(value, where = '') {
  if (value === null || typeof value !== 'object') return [];
  const kind = ['output', 'item', 'index', 'input', 'secret'].find((one) => `$${one}` in value);
  return kind ? [[where || '/', value, kind]] : Object.entries(value).flatMap(([key, inner]) => references(inner, `${where}/${key}`));
}
const within = (value, pointer = '') => pointer.split('/').slice(1).reduce((inner, key) => inner?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], value);

function inputs({ ticket, near }) {
  const scope = ticket.task_id.slice(0, ticket.task_id.lastIndexOf('/') + 1), found = references(ticket.parameters);
  const from = ([, reference, kind]) => {
    const to = reference[`$${kind}`], source = kind === 'output' && [...near.values()].find((one) => one.task_id === scope + to);
    const value = source ? within(source.output, reference.path) : kind === 'item' ? within(ticket.item, to) : kind === 'index' ? ticket.index : null;
    return [source ? ticketLink(source.ticket_id, to) : kind === 'index' ? '' : to, h('div', { class: 'small soft' }, kind, reference.path && ` at ${reference.path}`, kind === 'secret' && ', never shown'),
      (value ?? null) !== null && h('div', { class: 'text' }, h('code', {}, JSON.stringify(value).slice(0, 300)))];
  };
  return panel('Inputs', found.length > 0 && table([{ name: 'Where', cell: ([where]) => h('code', {}, where) }, { name: 'From', cell: from }], found, ([where]) => ({ key: where }), 'References'),
    Object.keys(ticket.parameters).length ? json(ticket.parameters, { title: 'Parameters', open: !found.length }) : soft('It has no parameters.'), ticket.item !== null && json(ticket.item, { title: `Item ${ticket.index ?? ''}` }));
}

const output = ({ ticket }) => panel('Output', ticket.error_message && h('p', { class: 'bad text' }, ticket.error_message, ticket.reason && [' ', h('code', {}, ticket.reason.code)]),
  ticket.output !== null ? json(ticket.output, { title: 'JSON', open: true }) : !ticket.error_message && soft(ENDED.has(ticket.status) ? 'It has none.' : 'It comes with the end of the work.'));

const logged = ({ log, ticket }) => (log || ticket.worker_id) && panel(log ? `Log of attempt ${log.attempt}` : 'Log', log ? [h('div', { class: 'row small soft' }, `The last ${bytes(ticket.log_bytes)}`, copy(log.text)), h('pre', { tabindex: '0', class: 'text' }, log.text)]
  : soft('Nothing yet. The end of what a task has written comes with the end of its attempt.'));

const near = (list, name) => table([{ name, cell: (one) => ticketLink(one.ticket_id, one.task_id) }, { name: 'Status', cell: (one) => badge(one.status) }, { name: 'Worker', cell: (one) => worker(one.worker_id), narrow: false },
  { name: 'Took', cell: (one) => (one.actual_duration_ms === null ? '–' : span(one.actual_duration_ms)), class: 'nowrap' }], list, (one) => ({ key: one.ticket_id, href: path`/console/tickets/${one.ticket_id}` }), name);

function family({ ticket, children: page, near: known }) {
  const sum = ticket.children, named = (ids, name) => ids.length > 0 && near(ids.map((id) => known.get(id)).filter(Boolean), ids.length > NEAR ? `${name} (${NEAR} of ${ids.length})` : name);
  return [sum && panel(`Children: ${sum.total}`, parts([{ tone: 'good', count: sum.completed, label: 'completed' }, { tone: 'bad', count: sum.failed, label: 'failed' }, { tone: 'plain', count: sum.skipped, label: 'skipped' }, { tone: 'none', count: Math.max(0, sum.total - sum.completed - sum.failed - sum.skipped), label: 'open' }]),
    soft(`${sum.completed} completed, ${sum.failed} failed, ${sum.skipped} skipped. `, page.cursor && `The first ${CHILDREN} are shown.`), near(page.items, 'Child')),
  ticket.dependencies.length + ticket.dependants.length > 0 && panel('Around it', h('div', { class: 'grid' }, named(ticket.dependencies, 'It waits for'), named(ticket.dependants, 'These wait for it')))];
}

/** A text as one word of a shell: whoever wrote a plan does not write commands. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function view(state, ctx) {
  const { ticket, entries, flow } = state, id = ticket.ticket_id;
  return [
    h('p', { class: 'small', role: 'navigation', 'aria-label': 'Where this is' }, link('/console/flows', 'Flows'), ' › ', flowLink(flow.flow_id, flow.decision_id), ticket.parent && [' › ', ticketLink(ticket.parent, state.near.get(ticket.parent)?.task_id ?? 'parent')], ` › ${ticket.task_id}`),
    h('div', { class: 'row' }, h('h1', { class: 'text' }, ticket.task_id), badge(ticket.status), ticket.slack_state && badge(ticket.slack_state), ticket.critical && badge('plain', 'critical path'), h('span', { class: 'grow' }), commandButtons('ticket', ticket, ctx.reload, (command) => !command.person)),
    ticket.description && h('p', { class: 'text soft' }, ticket.description),
    explained(state.why), asks(state.approval, ctx), timing(state), h('div', { class: 'grid' }, tried(state), chosen(state)), h('div', { class: 'grid' }, inputs(state), output(state)), logged(state), family(state),
    panel('Facts', facts([['Type', words(ticket.task_type)], ['Priority', `${words(ticket.priority)}, score ${ticket.priority_score.toFixed(2)}`], ['Risk', ticket.risk_band], ['Needs', ticket.required_capabilities.join(', ') || 'any worker'], ['Clearance', words(ticket.security_level)],
      ['May run twice', ticket.idempotent ? 'yes' : 'no'], ['Condition', ticket.control?.when && h('code', {}, ticket.control.when)], ['Labels', Object.entries(ticket.labels).map((pair) => pair.join(':')).join(', ')],
      ['Undone by', ticket.compensation_ticket_id && ticketLink(ticket.compensation_ticket_id)], ['Undoes', ticket.compensates && ticketLink(ticket.compensates)], ['Plan', ticket.plan_id], ['Ticket', h('code', {}, id)]]),
    h('div', { class: 'row' }, copy(`curl -s ${location.origin}${path`/api/v1/tickets/${id}`} -H "X-API-Key: $FLOWC_API_KEY"`, 'Copy curl'), copy(`flowc why ${id}`, 'Copy flowc why'), copy(`flowc logs ${quoted(`${flow.flow_id}/${ticket.task_id}`)}`, 'Copy flowc logs')), json(ticket, { title: 'Ticket as JSON' }), json(entries, { title: `History as JSON: ${entries.length}` })),
  ];
}

export const page = {
  load, view,
  live: (change, state) => !state || change.ticket_id === state.ticket.ticket_id || state.near.has(change.ticket_id) || (state.ticket.children && change.flow_id === state.ticket.flow_id),
  title: ({ ticket }) => `${ticket.task_id}: ${words(ticket.status)}`,
};
