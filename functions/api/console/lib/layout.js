// Where the boxes of a graph are: a column for each level; groups and parents are one box until they are opened.

const WIDTH = 190, HEIGHT = 46, GAP = 12, BETWEEN = 56, PAD = 10, HEAD = 30;
const TALL = 24; // boxes below each other; more of one level stand side by side
const LONG = 8; // groups side by side; more of them go to and fro in rows
const MANY = 150, MANY_CHILDREN = 30; // tickets that are grouped by themselves

/**
 * Lay out tickets. `by` is `level`, `type`, `none` or `` (by itself); `open` has the ids of opened groups and parents.
 * A box has id, x, y, width, height, `ticket` or `type`, and `below`: its children or the tickets of the group, which
 * `inner` says to be shown. `lines` are SVG paths: the dependencies, and those along the critical path.
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
  const chain = columns.length > LONG && nodes.length === columns.length && nodes.some((node) => !node.ticket);
  const size = chain ? toAndFro(columns.flat()) : inColumns(columns, tall);
  const place = (x, y) => {
    for (const node of nodes) {
      Object.assign(node, { x: node.x + x, y: node.y + y });
      graph.boxes.push(node);
      node.inner?.place(node.x + PAD, node.y + HEAD);
    }
    for (const { from, to, critical } of edges) if (!chain || to.turn - from.turn === 1) graph.lines[critical ? 'critical' : 'plain'] += curve(from, to);
  };
  return { ...size, place };
}

function grouped(tickets, { by, open }, most) {
  const kind = by || (tickets.length > most ? 'level' : 'none');
  const groups = Map.groupBy(tickets, (ticket) => (kind === 'none' ? ticket.ticket_id : `${ticket.parent ?? ''}:${ticket.level}:${kind === 'type' ? ticket.task_type : ''}`));
  return [...groups].map(([id, below]) => {
    const { level, task_type: type, critical } = below[0];
    return below.length === 1 ? { id: below[0].ticket_id, level, critical, ticket: below[0] } : { id, level, type: kind === 'type' && type, below, critical: critical || below.some((ticket) => ticket.critical) };
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

/** Order each column by where its neighbours stand, there and back, so that few lines cross. */
function ordered(columns, edges) {
  const number = (column) => column.forEach((node, index) => { node.at = index / column.length; });
  const before = Map.groupBy(edges, (edge) => edge.to), after = Map.groupBy(edges, (edge) => edge.from);
  columns.forEach(number);
  for (const [list, near, end] of [[columns, before, 'from'], [columns.toReversed(), after, 'to'], [columns, before, 'from']]) {
    for (const column of list) {
      for (const node of column) {
        const known = near.get(node);
        if (known) node.at = known.reduce((sum, edge) => sum + edge[end].at, 0) / known.length;
      }
      column.sort((a, b) => a.at - b.at);
      number(column);
    }
  }
}

function inColumns(columns, tall) {
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

function toAndFro(nodes) {
  const long = Math.max(5, Math.ceil(Math.sqrt(nodes.length)));
  let y = 0, width = 0;
  for (let start = 0; start < nodes.length; start += long) {
    const row = nodes.slice(start, start + long);
    row.forEach((node, index) => { node.turn = start + index; });
    const back = (start / long) % 2;
    let x = back * (long - row.length) * (WIDTH + BETWEEN);
    for (const node of back ? row.toReversed() : row) {
      Object.assign(node, { x, y });
      x += node.width + BETWEEN;
    }
    width = Math.max(width, x - BETWEEN);
    y += Math.max(...row.map((node) => node.height)) + BETWEEN / 2;
  }
  return { width, height: y - BETWEEN / 2 };
}

function curve(from, to) {
  if (from.turn !== undefined && from.y !== to.y) return `M${from.x + WIDTH / 2} ${from.y + from.height}L${to.x + WIDTH / 2} ${to.y}`;
  const back = to.x < from.x;
  const x = from.x + (back ? 0 : from.width), end = to.x + (back ? to.width : 0), y = from.y + from.height / 2, down = to.y + to.height / 2;
  const bend = Math.max(-120, Math.min(120, (end - x) / 2));
  return `M${x} ${y}C${x + bend} ${y} ${end - bend} ${down} ${end} ${down}`;
}
