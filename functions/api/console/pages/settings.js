// Settings and health: how the platform is, what it sends to whom, its limits and its keys.

import { again, doing, found, pager } from '../lib/act.js';
import { address, api, path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { count, span, when } from '../lib/format.js';
import { badge, button, copy, empty, facts, flowLink, link, panel, since, table, tabs, words } from '../lib/ui.js';

const TABS = ['Health', 'Diagnose', 'Subscriptions', 'Limits', 'Keys'].map((name) => [name.toLowerCase(), name]);
const CASES = [['not-starting', 'Flows do not start'], ['no-tickets', 'Flows have no tickets'], ['empty-discovery', 'Tickets find no worker'], ['unpublished', 'Tickets are not sent'], ['sla', 'Deadlines are missed'],
  ['telemetry', 'Telemetry is missing'], ['buffer', 'Telemetry waits'], ['hmac', 'Webhooks are refused']];
const ROLES = ['viewer', 'operator', 'worker', 'admin'];

const HEALTH = {
  async load(ctx) {
    const [health, ready, buffer, status, sink] = await Promise.all([api.get('/health', {}, ctx.signal), api.get('/ready', {}, ctx.signal).catch((error) => ({ ready: false, why: error.message })),
      api.get('/api/v1/telemetry/buffer', {}, ctx.signal), api.get('/api/v1/flow-c/status', {}, ctx.signal), api.get('/api/v1/diagnose/telemetry', {}, ctx.signal)]);
    return { health, ready, buffer, status, sink };
  },
  view: ({ health, ready, buffer, status, sink }, ctx) => [
    panel('Health', facts([['Version', health.version], ['Store', ready.ready ? badge('ok', 'ready') : badge('problem', 'not ready')], ['Why not', ready.why],
      ['Events of flows', [badge(health.consumer.status === 'stopped' ? 'problem' : 'ok', words(health.consumer.status)), health.consumer.status === 'elsewhere' && ' in other processes']],
      ['Waiting in the queue', count(ready.queue ?? health.consumer.lag)], ['Last event', since(health.consumer.last_event_at)], ['Last decision', since(health.consumer.last_decision_at)],
      ['Flows under way', count(status.active_executions)], [`Ended in ${status.window_hours} h`, count(status.total_processed)], ...Object.entries(ready.lost_secrets ?? {}).map(([name, why]) => [`Secret ${name}`, String(why)])])),
    panel('Telemetry', facts([['Sink', badge(sink.status)], ['Waits for it', count(buffer.size)], ['Oldest', buffer.oldest_at && since(buffer.oldest_at)]]), [...sink.findings, ...sink.remedy].map((line) => h('p', { class: 'small text' }, line)),
      buffer.size > 0 && doing('Send now', { title: 'Send what waits', text: `${count(buffer.size)} events are sent in order. What the sink refuses becomes a dead letter.`, fields: [], done: ctx.reload,
        run: async () => Object.entries(await api.post('/api/v1/telemetry/flush')).map(([name, number]) => `${words(name)}: ${number}`).join(', ') })),
    h('p', { class: 'small soft' }, 'Settings come from the environment (FLOWC_…) when the platform starts.'),
  ],
};

const DIAGNOSE = {
  load: async (ctx) => ({ said: ctx.local.said ??= {} }),
  view({ said }, ctx) {
    const look = async (cases) => {
      await Promise.all(cases.map(async (name) => { said[name] = await api.get(path`/api/v1/diagnose/${name}`, {}, ctx.signal).catch((error) => ({ status: 'unknown', findings: [error.message], remedy: [] })); }));
      ctx.render();
    };
    return [h('div', { class: 'row' }, h('p', { class: 'grow' }, 'Each case looks at the state of the platform, changes nothing, and says what helps.'), button('Look at all', () => look(CASES.map(([name]) => name)), { class: 'main' })),
      h('div', { class: 'grid' }, CASES.map(([name, text]) => h('section', { key: name, class: 'panel', 'aria-live': 'polite' }, h('div', { class: 'row' }, h('h2', { class: 'grow' }, text), said[name] && badge(said[name].status), button('Look', () => look([name]), { 'aria-label': `Look: ${text}` })),
        said[name] && [said[name].findings.map((line) => h('p', { class: 'text' }, line)), said[name].remedy.map((line) => h('p', { class: 'text small' }, h('b', {}, 'What helps: '), line))])))];
  },
};

const SUBSCRIPTIONS = {
  async load(ctx) {
    const { items } = await api.get('/api/v1/subscriptions', {}, ctx.signal);
    const { subscription } = ctx.query;
    return { items, deliveries: subscription && await found(api.get(path`/api/v1/subscriptions/${subscription}/deliveries`, { cursor: ctx.query.cursor, limit: 50 }, ctx.signal)) };
  },
  view({ items, deliveries }, ctx) {
    const route = (one, verb = '') => path`/api/v1/subscriptions/${one.id}` + verb;
    const to = (id) => `/console/settings?tab=subscriptions&subscription=${encodeURIComponent(id)}`;
    if (!items.length) return empty('No subscription', 'A subscription sends events to a webhook, signed and again until they are taken:', h('pre', {}, 'flowc subscriptions create URL --type flow.completed'));
    return [table([
      ['To', (one) => link(to(one.id), h('span', { class: 'text' }, one.sink)), 'say'],
      ['State', (one) => [badge(one.status === 'ACTIVE' ? 'ok' : 'problem', words(one.status)), one.reason && h('div', { class: 'small text' }, one.reason)]],
      ['Types', (one) => (one.types.length ? one.types.map((type) => h('div', { class: 'small' }, type.replace(/^io\.neuralhive\.|\.v1$/g, ''))) : 'all'), 'wide'],
      ['Since', (one) => when(one.created_at), 'wide'],
      ['', (one) => h('div', { class: 'acts' }, doing('Test', { title: 'Send a test event', text: `To ${one.sink}`, fields: [], verb: 'Send', done: () => ctx.set({ subscription: one.id }), run: async () => { await api.post(route(one, '/test')); return 'The test event is on its way'; } }),
        doing('Delete', { title: 'Delete the subscription', text: `To ${one.sink}. What waits for it is not delivered any more.`, risky: true, done: () => ctx.set({ subscription: '' }), run: ({ reason }) => api.remove(route(one), { reason }).then(() => 'Deleted') }))],
    ], items, (one) => ({ key: one.id, href: to(one.id) }), 'Subscriptions'),
    deliveries && panel('Deliveries, the newest first', deliveries.items.length ? table([
      ['Made', (one) => since(one.created_at), 'nowrap'],
      ['Event', (one) => [one.event_type.replace(/^io\.neuralhive\.|\.v1$/g, ''), ' ', one.flow_id && flowLink(one.flow_id)]],
      ['Status', (one) => badge(one.status === 'DELIVERED' ? 'ok' : one.attempts && one.status === 'PENDING' ? 'at_risk' : one.status, words(one.status))],
      ['Attempts', (one) => one.attempts, 'right wide'],
      ['Answer', (one) => [one.last_status, one.last_duration_ms !== null && ` in ${span(one.last_duration_ms)}`, h('div', { class: 'small text' }, one.last_detail), one.next_attempt_at && h('div', { class: 'small' }, 'again ', since(one.next_attempt_at))], 'say'],
      ['', (one) => one.status !== 'PENDING' && doing('Send again', { done: ctx.reload, run: async ({ reason }) => { await api.post(address(path`/api/v1/subscriptions/${one.subscription_id}/deliveries/${one.delivery_id}/resend`, { reason })); return 'It is on its way'; } })],
    ], deliveries.items, (one) => ({ key: one.delivery_id }), 'Deliveries') : h('p', { class: 'soft' }, 'Nothing was sent yet, or it is older than 7 days.'), pager(ctx, deliveries.cursor))];
  },
};

const place = (one) => (one ? [`${count(one.held)} of ${count(one.limit)}`, one.tenant_limit !== null && `, ${count(one.tenant_limit)} for each tenant`] : 'no limit');
const LIMITS = {
  load: (ctx) => api.get('/api/v1/limits', { after: ctx.query.after, limit: 50 }, ctx.signal),
  view: ({ flows, tickets, keys, after }, ctx) => [panel('In flight', facts([['Flows', place(flows)], ['Tickets', place(tickets)]])),
    keys.length ? table([['Concurrency key', (one) => h('code', {}, one.key)], ['Held', (one) => `${one.held}${one.limit === null ? '' : ` of ${one.limit}`}`],
      ['By', (one) => one.holders.map((holder) => h('div', {}, flowLink(holder.flow_id), ' ', since(holder.since)))], ['Waiting', (one) => [one.waiting.map((id) => [flowLink(id), ' ']), one.more_wait && 'and more', !one.waiting.length && 'none']]],
    keys, (one) => ({ key: one.key }), 'Concurrency keys') : empty('No concurrency key is held', 'Plans with the same concurrency key share its places: the others wait for their turn.', h('pre', {}, 'flowc limits')),
    pager(ctx, after, 'after')],
};

const KEYS = {
  load: (ctx) => api.get('/api/v1/keys', { after: ctx.query.after }, ctx.signal).catch((error) => ([401, 403].includes(error.status) ? { refused: error.message } : Promise.reject(error))),
  view({ items, after, refused }, ctx) {
    if (refused) return empty('Keys are for administrators', refused);
    const make = doing('Make a key', { main: true, done: ctx.reload, fields: [{ name: 'name', label: 'Name, kept with everything that its holder does', required: true, most: 100 },
      { name: 'role', label: 'Role', kind: 'choice', required: true, options: ROLES.map((role) => [role, role]) }, { name: 'scopes', label: 'Areas, one on each line', kind: 'lines', hint: 'all' }, { name: 'worker_id', label: 'Only for this worker' },
      { name: 'expires_in_seconds', label: 'Seconds that it holds', kind: 'number', least: 1, hint: 'until it is revoked' }],
    run: async ({ role, ...values }) => { const made = await api.post('/api/v1/keys', { ...values, roles: [role] }); return [h('p', {}, `The key of ${made.name}. It is shown this once:`), h('pre', { class: 'text' }, made.key), copy(made.key, 'Copy the key')]; } });
    return [h('div', { class: 'row' }, h('p', { class: 'grow' }, 'Keys open the API; the platform keeps only their hashes.'), make),
      items.length ? table([['Name', (one) => one.name], ['Roles', (one) => one.roles.join(', ')], ['Areas', (one) => one.scopes.join(', ') || 'all', 'wide'], ['Worker', (one) => one.worker_id ?? 'any', 'wide'],
        ['Made', (one) => [when(one.created_at), h('div', { class: 'small soft' }, `by ${one.created_by}`)], 'wide'], ['Holds until', (one) => (one.expires_at ? since(one.expires_at) : 'revoked')],
        ['', (one) => doing('Revoke', { title: `Revoke the key of ${one.name}`, text: 'Whoever uses it is refused within 10 seconds.', risky: true, done: ctx.reload, run: ({ reason }) => api.remove(path`/api/v1/keys/${one.key_id}`, { reason }).then(() => 'Revoked') })]],
      items, (one) => ({ key: one.key_id }), 'Keys') : empty('No key was made', 'The key of FLOWC_API_KEY is not listed here.', h('pre', {}, 'flowc keys create --name ci --role operator')), pager(ctx, after, 'after')];
  },
};

const VIEWS = { health: HEALTH, diagnose: DIAGNOSE, subscriptions: SUBSCRIPTIONS, limits: LIMITS, keys: KEYS };
const present = (ctx) => (VIEWS[ctx.query.tab] ? ctx.query.tab : 'health');

export const page = {
  live: (_, __, ctx) => ['subscriptions', 'limits'].includes(present(ctx)),
  async load(ctx) {
    const tab = present(ctx);
    if (tab !== 'diagnose') again(ctx, 15);
    return { tab, ...(await VIEWS[tab].load(ctx)) };
  },
  title: ({ tab, ready }) => (tab === 'health' ? `Health: ${ready.ready ? 'ready' : 'not ready'}` : `Settings: ${tab}`),
  view: (state, ctx) => [h('h1', {}, 'Settings and health'), tabs({ set: (said) => ctx.set({ ...said, cursor: '', after: '', subscription: '' }) }, 'tab', TABS, state.tab), VIEWS[state.tab].view(state, ctx)],
};
