// One insight: what was found, its figures, what it is about, and what may be done.

import { path } from '../lib/api.js';
import { h } from '../lib/dom.js';
import { percent, when } from '../lib/format.js';
import { asCommands, badge, facts, json, link, panel, since, to, words } from '../lib/ui.js';

const PAGES = { flow: to.flow, ticket: to.ticket, worker: to.worker, decision: (id) => `/console/flows?text=${encodeURIComponent(id)}`, plan: (id) => `/console/flows?plan=${encodeURIComponent(id)}` };
const about = ({ entity_type: type, entity_id: id, relationship: how }) => h('li.text', `${words(type)} `, Object.hasOwn(PAGES, type) ? link(PAGES[type](id), id) : h('code', id), ` (${how})`);
const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 3 });

export const page = {
  load: ({ get, params }) => get(path`insights/${params.insight_id}`),
  title: ({ title }) => title,
  view: (one) => [
    h('p.small', { role: 'navigation', 'aria-label': 'Where this is' }, link('/console/insights', 'Insights'), ' › ', one.insight_id.slice(0, 8)),
    h('div.row', h('h1.grow.text', one.title), badge(one.priority), badge('plain', words(one.insight_type))),
    panel('What was found', h('p.text', one.summary), one.detailed_analysis && h('p.text', one.detailed_analysis),
      facts([['Confidence', percent(one.confidence_score)], ['Impact', percent(one.impact_score)], ['From', when(one.time_window.start)], ['To', when(one.time_window.end)], ['Found', since(one.created_at)],
        ['Forgotten', one.valid_until && since(one.valid_until)], ['Sources', one.data_sources.join(', ')], ['Tags', one.tags.map((tag) => [link(`/console/insights?tags=${encodeURIComponent(tag)}`, tag), ' '])]])),
    h('div.grid',
      Object.keys(one.metrics).length > 0 && panel('Figures', facts(Object.entries(one.metrics).map(([name, value]) => [words(name), number(value)]))),
      one.related_entities.length > 0 && panel('About', h('ul', one.related_entities.map(about))),
      one.recommendations.length > 0 && panel('What may be done', h('ul', one.recommendations.map((advice) => h('li.text', `${advice.action} `, badge(advice.priority), h('span.small.soft', ` may help ${percent(advice.estimated_impact)}`)))))),
    panel('Record', asCommands([`flowc insights show ${one.insight_id}`], path`insights/${one.insight_id}`), json(one, { title: 'Insight as JSON' })),
  ],
};
