// Flows: which there are, how each stands against its SLA, and commands for many at once.

import { api } from '../lib/api.js';
import { ask, FLOW_COMMANDS } from '../lib/commands.js';
import { h, morph } from '../lib/dom.js';
import { count, counted, now, span } from '../lib/format.js';
import { badge, button, empty, field, flowLink, parts, select, since, slaBar, table, toast, words } from '../lib/ui.js';

const LIMIT = 50;
const LOOKS = 5; // pages that are read in search of the first flow that fits
const MOST = 2000; // flows that can be chosen at once
const STATUSES = ['VALIDATING', 'AWAITING_APPROVAL', 'GENERATING', 'EXECUTING', 'PAUSED', 'COMPENSATING', 'PUBLISHING', 'COMPLETED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'REJECTED'];
const OPEN = STATUSES.slice(0, 7).join();
const VIEWS = [['All', {}], ['Open', { status: OPEN }], ['At risk', { at_risk: 'true' }], ['Await approval', { status: 'AWAITING_APPROVAL' }], ['Not done', { status: 'FAILED,TIMED_OUT,CANCELLED,REJECTED' }], ['Completed', { status: 'COMPLETED' }]];
const NAMES = { text: 'text', status: 'status', at_risk: 'at risk', priority: 'priority', plan: 'plan', intent: 'intent', decision: 'decision', label: 'label', since: 'from', until: 'until' };
const AGES = [['', 'At any time'], ['15m', 'Last 15 minutes'], ['1h', 'Last hour'], ['24h', 'Last 24 hours'], ['7d', 'Last 7 days']];
const UNITS = { m: 60e3, h: 3600e3, d: 864e5 };

const used = (query) => Object.keys(NAMES).filter((name) => query[name]);
function moment(text) {
  const [, number, unit] = /^(\d+)([mhd])$/.exec(text ?? '') ?? [];
  const date = new Date(unit ? now() - number * UNITS[unit] : text);
  return text && !Number.isNaN(date.getTime()) ? date.toISOString() : undefined;
}
/** Read flows as the address of the page asks for them. */
const read = ({ query, signal }, more) => api.get('/api/v1/flows', { ...Object.fromEntries(used(query).map((name) => [name, query[name]])), status: query.status?.split(','),
  label: query.label?.split(/[\s,]+/), since: moment(query.since), until: moment(query.until), limit: LIMIT, tally: true, ...more }, signal);

async function load(ctx) {
  const { query, local } = ctx, filters = Object.keys(NAMES).map((name) => query[name]).join('\n');
  if (local.filters !== filters) Object.assign(local, { filters, chosen: new Map(), trail: [], shown: null, counting: null });
  if (local.cursor !== query.cursor) Object.assign(local, { cursor: query.cursor, shown: null });
  // While a person points at rows, has scrolled or chosen some, the same rows stay where they are, and new ones are counted.
  const held = local.shown?.length && !local.take && (local.chosen.size || scrollY > 60 || document.querySelector('tbody:hover, tbody :focus-within')) ? local.shown : null;
  const first = held && !query.cursor ? held[0].received_at : null;
  local.take = false;
  let [{ items, cursor }, top] = await Promise.all([read(ctx, { cursor: query.cursor, ...(first && { until: new Date(Date.parse(first) + 1).toISOString() }) }), first && read(ctx)]);
  for (let looks = 1; !items.length && cursor && !held && looks < LOOKS; looks++) ({ items, cursor } = await read(ctx, { cursor }));
  const known = new Map(items.map((flow) => [flow.flow_id, flow]));
  const gone = new Set(items.length ? held?.map((flow) => flow.flow_id).filter((id) => !known.has(id)) : []);
  if (!held) local.older = cursor;
  local.shown = held?.map((flow) => known.get(flow.flow_id) ?? flow) ?? items;
  for (const flow of local.shown) if (local.chosen.has(flow.flow_id)) local.chosen.set(flow.flow_id, flow);
  return { items: local.shown, older: local.older, gone, fresh: top ? top.items.filter((flow) => flow.received_at > first).length : 0 };
}

const PARTS = [['good', 'done', 'COMPLETED', 'SKIPPED', 'COMPENSATED'], ['bad', 'failed or cancelled', 'FAILED', 'CANCELLED'], ['busy', 'at work', 'ASSIGNED', 'RUNNING', 'COMPENSATING'], ['warn', 'waiting', 'WAITING']];
function progress({ tally, tickets_generated: all, ended_at: ended }) {
  if (!all || (!ended && !Object.keys(tally).length)) return all ? counted(all, 'ticket') : '–';
  const list = PARTS.map(([tone, label, ...names]) => ({ tone, label, count: names.reduce((sum, name) => sum + (tally[name] ?? 0), 0) }));
  const open = all - list.reduce((sum, part) => sum + part.count, 0);
  return [parts([...list, { tone: 'none', label: 'to do', count: Math.max(0, open) }]), h('span', { class: 'small soft nowrap' }, `${count(list[0].count)} of ${count(all)}`)];
}

function took(flow) {
  const text = () => span((flow.ended_at ? Date.parse(flow.ended_at) : now()) - Date.parse(flow.received_at));
  return h('span', { class: 'nowrap', 'data-tick': !flow.ended_at, tick: (node) => { node.textContent = text(); } }, text());
}

/** Change the address by what no field was used for; the fields follow. */
function choose(ctx, changes) {
  ctx.local.version = (ctx.local.version ?? 0) + 1;
  return ctx.set({ cursor: '', ...changes });
}
const shows = (query, wanted) => ['status', 'at_risk'].every((one) => (query[one] ?? '') === (wanted[one] ?? ''));
const none = Object.fromEntries(Object.keys(NAMES).map((name) => [name, '']));

function filters(ctx) {
  const { query, local } = ctx;
  const typed = ({ currentTarget: form }) => {
    clearTimeout(local.typing);
    local.typing = setTimeout(() => {
      const said = new FormData(form);
      ctx.set({ ...Object.fromEntries(Object.keys(NAMES).map((name) => [name, said.getAll(name).map((text) => text.trim()).filter(Boolean).join()])), cursor: '' });
    }, 300);
  };
  const text = (name, label, more = {}) => field(label, h('input', { name, value: query[name] ?? '', ...more }));
  const ages = AGES.some(([age]) => age === (query.since ?? '')) ? AGES : [...AGES, [query.since, `From ${query.since.replace('T', ' ')}`]];
  return h('form', { key: `filters${local.version}`, class: 'filters', role: 'search', oninput: typed, onsubmit: (event) => event.preventDefault() },
    h('input', { type: 'search', name: 'text', value: query.text ?? '', maxlength: '200', 'data-search': true, 'aria-label': 'Text in ids, labels and reasons', placeholder: 'Text in ids, labels and reasons' }),
    h('details', { open: local.more, ontoggle: (event) => { local.more = event.target.open; } }, h('summary', {}, 'Filters'),
      h('fieldset', { class: 'row' }, h('legend', { class: 'small soft' }, 'Status'), STATUSES.map((status) => h('label', { class: 'nowrap small' },
        h('input', { type: 'checkbox', name: 'status', value: status, checked: query.status?.split(',').includes(status) }), ` ${words(status)}`)),
      h('label', { class: 'nowrap small' }, h('input', { type: 'checkbox', name: 'at_risk', value: 'true', checked: query.at_risk === 'true' }), ' SLA at risk')),
      h('div', { class: 'grid fields' }, text('plan', 'Plan, by id or name'), text('intent', 'Intent'), text('decision', 'Decision'), text('label', 'Labels', { placeholder: 'team:red, env:prod' }),
        field('Priority', select([['', 'Any'], 'LOW', 'NORMAL', 'HIGH', 'CRITICAL'], query.priority ?? '', () => {}, { name: 'priority' })),
        field('Arrived', select(ages, query.since ?? '', () => {}, { name: 'since' })), text('until', 'Arrived before', { type: 'datetime-local' }))));
}

const chips = (ctx, names) => names.length > 0 && h('div', { class: 'row' }, names.map((name) => button(`${NAMES[name]}: ${words(ctx.query[name]).replaceAll(',', ', ')} ✕`,
  () => choose(ctx, { [name]: '' }), { class: 'small', key: name, 'aria-label': `Remove the filter ${NAMES[name]}` })), button('Remove all', () => choose(ctx, none), { class: 'quiet' }));

/** Show what is chosen: the bar of commands alone, and the boxes where it has not been their person. */
function drawn(ctx) {
  morph(document.querySelector('#bulk'), bulk(ctx));
  document.querySelectorAll('tbody [name=chosen]').forEach((box) => { box.checked = ctx.local.chosen.has(box.value); });
}

async function chooseAll(ctx) {
  const { local } = ctx, found = new Map(), counting = local.counting = { count: 0 };
  for (let cursor; ;) {
    const page = await read(ctx, { cursor, limit: 500, tally: null });
    if (local.counting !== counting) return;
    for (const flow of page.items) if (found.size < MOST) found.set(flow.flow_id, { flow_id: flow.flow_id, status: flow.status });
    counting.count = found.size;
    drawn(ctx);
    cursor = page.cursor;
    if (!cursor || found.size >= MOST) { Object.assign(local, { chosen: found, counting: null, more: Boolean(cursor) }); break; }
  }
  if (!found.size) toast('No flow fits now.');
  drawn(ctx);
}

function bulk(ctx) {
  const { local } = ctx, records = [...local.chosen.values()];
  const clear = () => { local.chosen = new Map(); local.counting = null; drawn(ctx); };
  const bar = (...content) => h('div', { id: 'bulk', class: 'bulk row', role: 'region', 'aria-label': 'Commands for the chosen flows', hidden: !content.length }, content);
  if (local.counting) return bar(h('span', { role: 'status' }, `Counting: ${count(local.counting.count)} so far`), button('Stop', clear));
  return records.length ? bar(h('b', { role: 'status' }, `${counted(records.length, 'flow')} chosen`), records.length === MOST && local.more && h('span', { class: 'small' }, 'More fit; this is the most at once.'),
    FLOW_COMMANDS.map((command) => [command, records.filter(command.fits)]).filter(([, fitting]) => fitting.length).map(([command, fitting]) =>
      button(`${command.verb[0].toUpperCase()}${command.verb.slice(1)} ${count(fitting.length)}`, () => ask('flow', command, fitting, () => { clear(); ctx.reload(); }), { class: command.risky ? 'risky' : '' })),
    button('Choose none', clear, { class: 'quiet' })) : bar();
}

function nothing(ctx, names, cursor) {
  if (cursor) return empty('Nothing so far', 'None of the flows that were looked at fits. There are older ones.', button('Look further', () => ctx.set({ cursor })));
  if (names.length) return empty('No flow fits', 'Remove a filter to see more.', button('Remove all filters', () => choose(ctx, none)));
  return empty('No flows yet', 'A flow is a decision on its way to done work. Submit one, and it is shown here at once:', h('pre', {}, 'flowc sample | flowc submit -'), 'A worker does its tasks:', h('pre', {}, "flowc worker --shell 'echo done'"));
}

function view({ items, older, fresh, gone }, ctx) {
  const { query, local } = ctx, names = used(query);
  const pick = ({ target: { value, checked } }) => {
    if (checked) local.chosen.set(value, items.find((flow) => flow.flow_id === value)); else local.chosen.delete(value);
    drawn(ctx);
  };
  const pickPage = ({ target }) => {
    for (const flow of items) if (target.checked) local.chosen.set(flow.flow_id, flow); else local.chosen.delete(flow.flow_id);
    drawn(ctx);
  };
  const turn = (to) => { scrollTo(0, 0); ctx.set({ cursor: to }); };
  return [
    h('div', { class: 'row' }, h('h1', { class: 'grow' }, 'Flows'), h('div', { class: 'row', role: 'group', 'aria-label': 'Views' }, VIEWS.map(([name, wanted]) =>
      button(name, () => choose(ctx, { status: '', at_risk: '', ...wanted }), { class: 'tab small', 'aria-pressed': String(shows(query, wanted)) })))),
    filters(ctx), chips(ctx, names),
    items.length ? [
      h('div', { class: 'row tools' }, h('span', { class: 'soft small' }, `${counted(items.length, 'flow')} here, the newest first`),
        fresh > 0 && button(`${fresh} new – show`, () => { local.take = true; scrollTo(0, 0); ctx.reload(); }, { class: 'small', 'aria-live': 'polite' }), button('Choose all that fit', () => chooseAll(ctx), { class: 'quiet small' })),
      table([
        { name: h('input', { type: 'checkbox', 'aria-label': 'Choose all on this page', onchange: pickPage }), class: 'pick', cell: (flow) => h('input', { type: 'checkbox', name: 'chosen', value: flow.flow_id, 'aria-label': `Choose ${flow.decision_id}`, checked: local.chosen.has(flow.flow_id), onchange: pick }) },
        { name: 'Flow', cell: (flow) => [flowLink(flow.flow_id, flow.decision_id), h('div', { class: 'thin' }, badge(flow.status)), h('div', { class: 'small soft' }, flow.plan_id ?? '', Object.entries(flow.labels).map((pair) => [' ', h('code', {}, pair.join(':'))]))] },
        { name: 'Status', cell: (flow) => [badge(flow.status), gone.has(flow.flow_id) && h('div', { class: 'small soft' }, 'fits no longer')], narrow: false },
        { name: 'SLA', cell: slaBar }, { name: 'Progress', cell: progress, narrow: false },
        { name: 'Priority', cell: (flow) => [words(flow.priority), h('div', { class: 'small soft nowrap' }, `${flow.risk_band} risk`)], narrow: false },
        { name: 'Started', cell: (flow) => since(flow.received_at), class: 'nowrap', narrow: false }, { name: 'Took', cell: took, narrow: false },
      ], items, (flow) => ({ key: flow.flow_id, href: `/console/flows/${encodeURIComponent(flow.flow_id)}` }), 'Flows'),
    ] : nothing(ctx, names, older),
    h('div', { class: 'row' }, query.cursor && button('« Newest', () => { local.trail = []; turn(''); }), local.trail.length > 0 && button('‹ Newer', () => turn(local.trail.pop())),
      older && items.length > 0 && button('Older ›', () => { local.trail.push(query.cursor ?? ''); turn(older); })),
    bulk(ctx),
  ];
}

export const page = {
  load, view,
  live: (change, state, { local }) => !change.ticket_id || !local.shown || local.shown.some((flow) => flow.flow_id === change.flow_id),
  title: (state, { query }) => {
    const [name] = VIEWS.find(([, wanted]) => shows(query, wanted)) ?? [words(query.status).replaceAll(',', ', ')];
    return name === 'All' ? 'Flows' : `Flows: ${name.toLowerCase()}`;
  },
};
