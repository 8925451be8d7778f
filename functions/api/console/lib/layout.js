// Where the boxes of a graph are: a column for each level; groups and parents are one box until they are opened.

const WIDTH = 190, HEIGHT = 46, GAP = 12, BETWEEN = 56, PAD = 10, HEAD = 30;
const TALL = 24; // boxes below each other; more of one level stand side by side
const MANY = 150, MANY_CHILDREN = 30; // tickets that are grouped by themselves

/**
 * Lay out tickets. `by` is `level`, `type`, `none` or `` (by itself); `open` has the ids of opened groups and parents.
 * A box has `ticket` or `type`, and `below`: its children or the tickets of the group; `inner` if they are shown.
 */
export function layout(tickets, by, open) {
  const graph = { by, open, children: Map.groupBy(tickets, (ticket) => ticket.parent), boxes: [], lines: { plain: '', critical: '' } };
  const { width, height, place } = scope(graph.children.get(null) ?? [], graph, MANY, TALL);
  place(PAD, PAD);
  return { boxes: graph.boxes, lines: graph.lines, width: width + 2 * PAD, height: height + 2 * PAD };
}

function scope(tickets, graph, most, tall) {
  const nodes = grouped(tickets, graph, most).map((node) => ({ ...node, ...sized(node, graph) }));
  const of = new Map(nodes.flatMap((node) => (node.ticket ? [node.ticket] : node.below).map((ticket) => [ticket.ticket_id, node])));
  const edges = between(tickets, of);
  const columns = [...Map.groupBy(nodes, (node) => node.level)].sort(([a], [b]) => a - b).map(([, column]) => column);
  ordered(columns, edges);
  const size = placed(columns, tall);
  const place = (x, y) => {
    for (const node of nodes) {
      Object.assign(node, { x: node.x + x, y: node.y + y });
      graph.boxes.push(node);
      node.inner?.place(node.x + PAD, node.y + HEAD);
    }
    for (const { from, to, critical } of edges) graph.lines[critical ? 'critical' : 'plain'] += curve(from, to);
  };
  return { ...size, place };
}

function grouped(tickets, { by, open }, most) {
  const kind = by || (tickets.length > most ? 'level' : 'none');
  const groups = Map.groupBy(tickets, (ticket) => (kind === 'none' ? ticket.ticket_id : `${ticket.parent ?? ''}:${ticket.level}:${kind === 'type' ? ticket.task_type : ''}`));
  return [...groups].map(([id, below]) => {
    const { level, task_type: type, critical } = below[0];
    return below.length === 1 ? { id: below[0].ticket_id, level, critical, ticket: below[0] } : { id, level, type: kind === 'type' && type, below, critical: below.some((ticket) => ticket.critical) };
  });
}

function sized(node, graph) {
  const below = node.below ?? graph.children.get(node.ticket.ticket_id);
  if (!below || !graph.open.has(node.id)) return { width: WIDTH, height: HEIGHT, below };
  const by = node.below ? 'none' : graph.by === 'none' ? '' : graph.by;
  const inner = scope(below, { ...graph, by }, MANY_CHILDREN, Math.ceil(Math.sqrt(below.length * 1.5)));
  return { width: Math.max(WIDTH, inner.width + 2 * PAD), height: inner.height + HEAD + PAD, below, inner };
}

function between(tickets, of) {
  const edges = new Map();
  for (const ticket of tickets) {
    const to = of.get(ticket.ticket_id);
    for (const from of ticket.dependencies.map((id) => of.get(id))) {
      if (from && from !== to) edges.set(`${from.id}>${to.id}`, { from, to, critical: from.critical && to.critical });
    }
  }
  return [...edges.values()];
}

/** Order each column by where those before it stand, so that few lines cross. */
function ordered(columns, edges) {
  const before = Map.groupBy(edges, (edge) => edge.to);
  for (const column of columns) {
    for (const node of column) {
      const known = before.get(node);
      node.at = known ? known.reduce((sum, edge) => sum + edge.from.at, 0) / known.length : 0;
    }
    column.sort((a, b) => a.at - b.at);
    column.forEach((node, index) => { node.at = index / column.length; });
  }
}

function placed(columns, tall) {
  const heightOf = (column) => column.reduce((sum, node) => sum + node.height + GAP, -GAP);
  const stacks = columns.map((column) => Array.from({ length: Math.ceil(column.length / tall) }, (_, i) => column.slice(i * tall, (i + 1) * tall)));
  const height = Math.max(0, ...stacks.flat().map(heightOf));
  let x = 0;
  for (const stack of stacks) {
    for (const column of stack) {
      let y = (height - heightOf(column)) / 2;
      for (const node of column) {
        Object.assign(node, { x, y });
        y += node.height + GAP;
      }
      x += Math.max(...column.map((node) => node.width)) + GAP;
    }
    x += BETWEEN - GAP;
  }
  return { width: Math.max(0, x - BETWEEN), height };
}

function curve(from, to) {
  const x = from.x + from.width, y = from.y + from.height / 2, down = to.y + to.height / 2, bend = Math.min(120, (to.x - x) / 2);
  return `M${x} ${y}C${x + bend} ${y} ${to.x - bend} ${down} ${to.x} ${down}`;
}
