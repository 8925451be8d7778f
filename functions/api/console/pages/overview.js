// Overview: what flows did over an hour, a day or a week, what is at risk now, and how busy the workers are.

import { api } from '../lib/api.js';
import { h, svg } from '../lib/dom.js';
import { count, counted, percent, span } from '../lib/format.js';
import { empty, link, panel, since, tabs } from '../lib/ui.js';

const WINDOWS = [['1h', 'Last hour'], ['24h', 'Last day'], ['7d', 'Last week']];
const W = 600, H = 120;
const paint = (tone) => `var(--${tone})`;

export const page = {
  live: () => false, // a look is fresh for ten seconds: time tells, not each change
  async load(ctx) {
    clearTimeout(ctx.local.timer);
    const signal = ctx.signal;
    const [rollup, workers] = await Promise.all([
      api.get('/api/v1/flow-c/rollups', { window: ctx.query.window ?? '1h' }, signal), api.get('/api/v1/workers', {}, signal)]);
    ctx.local.timer = setTimeout(ctx.reload, rollup.totals.complete ? 15_000 : 10_500);
    signal.addEventListener('abort', () => clearTimeout(ctx.local.timer), { once: true });
    return { rollup, workers: workers.items };
  },
  title: ({ rollup }) => (rollup.at_risk ? `${rollup.at_risk} at risk · Overview` : 'Overview'),
  view: ({ rollup, workers }, ctx) => [
    h('div', { class: 'row' }, h('h1', { class: 'grow' }, 'Overview'), h('span', { class: 'small soft' }, 'counted ', since(rollup.generated_at))),
    tabs(ctx, 'window', WINDOWS, rollup.window),
    figures(rollup),
    !rollup.totals.complete && h('p', { class: 'warn small', role: 'status' }, 'Not all flows of this time are counted yet: older ones follow, a few thousand at each look.'),
    ended(rollup.totals) + rollup.active + rollup.totals.admitted === 0 ? nothing(rollup) : charts(rollup),
    h('div', { class: 'grid' }, reasons(rollup), load(workers)),
  ],
};

const ended = (one) => Object.values(one.ended).reduce((sum, number) => sum + number, 0);
const met = (one) => (one.sla_met + one.sla_missed ? one.sla_met / (one.sla_met + one.sla_missed) : null);

function figures({ totals, active, at_risk, complete }) {
  const all = [
    ['Came', count(totals.admitted)], ['Ended', count(ended(totals))],
    ['SLA met', percent(met(totals), 1), totals.sla_missed ? 'warn' : '', `${counted(totals.sla_missed, 'flow')} missed it`],
    ['Half within', span(totals.p50_ms)], ['95 % within', span(totals.p95_ms)],
    ['Active now', count(active)], ['At risk now', count(at_risk) + (complete ? '' : '+'), at_risk ? 'warn' : ''],
  ];
  const look = { 'font-size': '1.35rem', 'font-weight': '650', 'font-variant-numeric': 'tabular-nums' };
  return h('section', { class: 'panel', 'aria-label': 'Figures' }, h('dl', { class: 'facts' }, all.map(([name, value, tone, title]) =>
    h('div', { title }, h('dt', {}, name), h('dd', { class: tone, style: look }, value)))));
}

const charts = (rollup) => {
  const minutes = rollup.bucket_seconds / 60;
  const per = (number) => (number / minutes).toLocaleString(undefined, { maximumFractionDigits: number / minutes < 10 ? 1 : 0 });
  const not = (...words) => (one) => words.reduce((sum, word) => sum + (one.ended[word] ?? 0), 0);
  return h('div', { class: 'grid' },
    chart(rollup, 'Flows', {
      bars: [['good', 'completed', not('COMPLETED')], ['bad', 'failed or late', not('FAILED', 'TIMED_OUT')], ['plain', 'cancelled or rejected', not('CANCELLED', 'REJECTED')]],
      lines: [['busy', 'came', (one) => one.admitted]],
      top: (most) => `${per(most)} a minute`,
    }),
    chart(rollup, 'SLA', {
      bars: [['good', 'met', met], ['bad', 'missed', (one) => (met(one) === null ? 0 : 1 - met(one))]], top: percent, tell: (share) => percent(share, 1), full: 1,
    }),
    chart(rollup, 'Time from arrival to end', {
      lines: [['busy', 'half within', (one) => one.p50_ms], ['warn', '95 % within', (one) => one.p95_ms]], top: span, tell: span,
    }));
};

/** Bars, one upon the other, and lines: lists of tone, name and value of a bucket. */
function chart({ buckets, bucket_seconds, totals }, title, { bars = [], lines = [], top, tell = count, full = 0 }) {
  const sum = (one) => bars.reduce((all, [, , value]) => all + value(one), 0);
  const most = full || Math.max(1, ...buckets.flatMap((one) => [sum(one), ...lines.map(([, , value]) => value(one) ?? 0)]));
  const step = W / buckets.length, y = (value) => H - (value / most) * (H - 4);
  const text = (one) => [at(one.start, bucket_seconds), ...[...bars, ...lines].map(([, name, value]) => [name, value(one)])
    .filter(([, value]) => value).map(([name, value]) => `${name} ${tell(value)}`), one.complete ? '' : 'not all counted'].filter(Boolean).join('\n');
  const columns = buckets.map((one, i) => {
    let below = 0;
    const stack = bars.map(([tone, , value]) => {
      const number = value(one);
      below += number;
      return number ? svg('rect', { x: i * step + step * 0.1, width: step * 0.8, y: y(below), height: (number / most) * (H - 4), style: { fill: paint(tone), opacity: one.complete ? '1' : '.5' } }) : null;
    });
    return svg('g', {}, stack, svg('rect', { x: i * step, width: step, y: 0, height: H, fill: 'transparent' }, svg('title', {}, text(one))));
  });
  const drawn = lines.map(([tone, , value]) => svg('path', { d: path(buckets, value, step, y), fill: 'none', 'vector-effect': 'non-scaling-stroke',
    'stroke-width': '2', 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'pointer-events': 'none', style: { stroke: paint(tone) } }));
  const names = [...bars, ...lines].map(([tone, name], i) => h('span', { class: 'nowrap' },
    h('i', { style: { display: 'inline-block', width: '.7rem', height: i < bars.length ? '.7rem' : '2px', 'vertical-align': i < bars.length ? '-1px' : '4px', 'border-radius': '2px', background: paint(tone) } }), ` ${name}`));
  const label = `${title}: ${[...bars, ...lines].map(([, name, value]) => (value(totals) ? `${name} ${tell(value(totals))}` : '')).filter(Boolean).join(', ') || 'nothing'}`;
  const middle = buckets[Math.floor(buckets.length / 2)];
  return panel(title, h('div', { class: 'row small soft' }, names, h('span', { class: 'grow right' }, `top: ${top(most)}`)),
    svg('svg', { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label, style: { width: '100%', height: '8rem', display: 'block', 'border-bottom': '1px solid var(--line)', 'margin-top': '.4rem' } },
      svg('line', { x1: 0, x2: W, y1: 4, y2: 4, 'stroke-dasharray': '3 4', 'vector-effect': 'non-scaling-stroke', style: { stroke: 'var(--line)' } }), columns, drawn),
    h('div', { class: 'row small soft', style: { 'justify-content': 'space-between' } }, h('span', {}, at(buckets[0].start, bucket_seconds)), h('span', {}, at(middle.start, bucket_seconds)), h('span', {}, 'now')));
}

/** A path through the values; where a bucket has none it is interrupted, and a value that stands alone is a dot. */
function path(buckets, value, step, y) {
  let d = '', drawing = false;
  buckets.forEach((one, i) => {
    const number = value(one);
    if (number === null || number === undefined) { drawing = false; return; }
    const x = ((i + 0.5) * step).toFixed(1);
    d += `${drawing ? 'L' : 'M'}${x} ${y(number).toFixed(1)}`;
    if (!drawing) d += 'h.01';
    drawing = true;
  });
  return d;
}

const at = (moment, width) => new Date(moment).toLocaleString(undefined, width >= 7200 ? { weekday: 'short', hour: '2-digit', minute: '2-digit' } : { hour: '2-digit', minute: '2-digit' });

const nothing = ({ window }) => empty(`No flow in the ${WINDOWS.find(([id]) => id === window)[1].toLowerCase()}`,
  'A flow begins with a decision. One to try:', h('pre', {}, 'flowc sample | flowc submit - --watch'));

function reasons({ reasons: list }) {
  const most = Math.max(1, ...list.map((one) => one.count));
  return panel('Why flows did not succeed', list.length ? list.map((one) => bar(h('code', { class: 'text' }, one.code), count(one.count), one.count / most, 'bad'))
    : h('p', { class: 'soft' }, 'No flow of this time failed.'));
}

function load(workers) {
  const busy = workers.map((one) => ({ one, share: one.active_tickets / one.slots })).sort((a, b) => b.share - a.share).slice(0, 12);
  const used = workers.reduce((sum, one) => sum + one.active_tickets, 0), slots = workers.reduce((sum, one) => sum + one.slots, 0);
  return panel(workers.length ? `Workers: ${count(used)} of ${counted(slots, 'slot')} taken` : 'Workers', workers.length ? busy.map(({ one, share }) =>
    bar(link(`/console/workers/${encodeURIComponent(one.worker_id)}`, h('span', { class: 'text' }, one.worker_id)), `${one.active_tickets} / ${one.slots}`, share, one.health === 'UNHEALTHY' ? 'bad' : share >= 1 ? 'warn' : 'busy'))
    : h('p', { class: 'soft' }, 'No worker is registered: ', h('code', {}, "flowc worker --shell 'echo done'"), ' starts one.'),
  workers.length > busy.length && h('p', { class: 'small' }, link('/console/workers', `All ${count(workers.length)} workers`)));
}

const bar = (name, number, share, tone) => h('div', {}, h('div', { class: 'row small' }, h('span', { class: 'grow' }, name), h('span', { class: 'nowrap' }, number)),
  h('div', { class: 'track' }, h('div', { style: { width: `${Math.min(1, share) * 100}%`, background: paint(tone) } })));
