"""What documents have in common, so that deflating need not write it again and again.

An item is paid for by the KiB, and with this a ticket's is smaller than one. It is part of what is stored: a text that
was ever used is never changed. A better one is added behind it, and reading finds the one by its check sum.
"""

from zlib import adler32

WORDS_1 = (
    '{"id":"","source":"/flowc/monitor","type":"io.neuralhive.ticket.completed.v1","time":"Z","subject":"","d'
    'ata":{"number":1},"extensions":{"partitionkey":""}}{"flow_id":"","at":"000Z","type":"ticket.assigned","c'
    'ause":"","ticket_id":"","task_id":null,"from_status":"PENDING","to_status":"ASSIGNED","attempt":1,"worke'
    'r_id":"w","event_id":null,"detail":{},"seq":0}{"flow_id":"","decision_id":"","plan_id":"","intent_id":""'
    ',"correlation_id":"","traceparent":"00---01","content_hash":"","status":"EXECUTING","outcome":null,"reas'
    'ons":[],"warnings":[],"priority":"NORMAL","risk_band":"medium","received_at":"000Z","sla_deadline":"000Z'
    '","sla_limit":null,"announced":"on_track","back":null,"compensable":0,"compensations":null,"redrives":0,'
    '"orders":[],"ended_at":null,"phases":[{"status":"EXECUTING","entered_at":"000Z","emissions":0}],"tickets'
    '_generated":0,"critical_path_ms":null,"tally":{"PENDING":0,"ASSIGNED":0,"RUNNING":0,"COMPLETED":5,"FAILE'
    'D":0,"CANCELLED":0,"COMPENSATING":0,"COMPENSATED":0},"telemetry_published":null,"next_wakeup_at":"000Z",'
    '"version":1}{"ticket_id":"","flow_id":"","plan_id":"","intent_id":"","decision_id":"","correlation_id":"'
    '","trace_id":"","span_id":"","task_id":"","task_type":"BUILD","description":"","dependencies":[],"status'
    '":"ASSIGNED","priority":"NORMAL","priority_score":0.5,"risk_band":"medium","sla":{"deadline":"000Z","tim'
    'eout_ms":180000,"max_retries":2},"qos":{"delivery_mode":"AT_LEAST_ONCE","consistency":"EVENTUAL","durabi'
    'lity":"PERSISTENT"},"parameters":{},"required_capabilities":["python"],"security_level":"INTERNAL","temp'
    'late_id":null,"idempotent":true,"created_at":"000Z","assigned_at":null,"acknowledged_at":null,"started_a'
    't":null,"completed_at":null,"estimated_duration_ms":60000,"actual_duration_ms":null,"retry_count":0,"err'
    'or_message":null,"reason":null,"compensation_ticket_id":null,"metadata":{},"schema_version":1,"hash":"",'
    '"attempt":0,"worker_id":"w","candidates":[{"worker_id":"","score":0.7,"health_score":1.0,"pheromone_scor'
    'e":0.5,"telemetry_score":0.5,"active":0,"slots":10}],"refusals":[],"excluded_workers":[],"perhaps_begun"'
    ':false,"asked":false,"waiting":"DEPENDENCIES","waiting_since":null,"turn":null,"emissions":0,"latest_sta'
    'rt":"000Z","tail_ms":0,"announced":"on_track","retry":{"initial_ms":1000,"coefficient":2.0,"max_ms":6000'
    '0,"jitter":0.2,"non_retryable":[]},"ready_at":null,"schedule_to_start_ms":null,"heartbeat_timeout_ms":nu'
    'll,"undo":null,"compensates":null,"skipped":false,"until":null,"level":0,"critical":false,"dependants":['
    '],"open_dependencies":0,"progress":null,"output":null,"next_wakeup_at":"000Z","version":1}'
)

NEWEST = WORDS_1.encode()

BY_CHECKSUM = {adler32(words): words for words in (NEWEST,)}
"""Every text that was ever used, by what the stored bytes say of it."""
