select date '2024-02-29', '2024-02-29'::date, date '20240229', date 'January 8, 1999', date '1999-Jan-08', date '08-Jan-1999', date '1/8/1999'
select date '2024-02-30'
select date '2024-13-01'
select '2024-02-30'::timestamp
select 'garbage'::date
select 'garbage'::timestamp
select 'garbage'::timestamptz
select ''::date
select 'garbage'::time
select 'garbage'::interval
select '25:00'::time
select '2024-01-01 25:00'::timestamp
select timestamp '2024-01-02 03:04:05', timestamp '2024-01-02 03:04:05.678901', timestamp '2024-01-02', timestamp '2024-01-02T03:04', timestamp '2024-01-02 03:04:05.100'
select timestamptz '2024-01-02 03:04:05', timestamptz '2024-01-02 03:04:05+02', timestamptz '2024-07-02 03:04:05 Europe/Berlin', timestamptz '2024-01-02 03:04:05Z', timestamptz '2024-01-02 03:04:05.5-08:30'
select time '12:34:56', time '12:34', time '12:34:56.789', time '24:00', time '3:04 PM'
select 'infinity'::timestamp, '-infinity'::date, 'epoch'::timestamp, 'infinity'::timestamptz
select timestamp '0044-03-15 BC', date '10000-01-01', timestamp '0001-01-01'
!22008 select date '5874897-12-31'
select date '2024-01-31' + 1, date '2024-01-31' - 1, date '2024-03-01' - date '2024-02-01', 1 + date '2024-01-31'
select date '2024-01-31' + interval '1 month', date '2024-01-31' - interval '1 day', date '2024-01-31' + time '03:00'
select timestamp '2024-01-31 10:00' + interval '1 month', timestamp '2024-03-31' - interval '1 month', timestamp '2024-01-01' + interval '1 day 2 hours 3 minutes 4.5 seconds'
select timestamp '2024-01-02 10:00' - timestamp '2024-01-01 09:30', timestamp '2024-03-01' - timestamp '2024-01-01', timestamptz '2024-03-01' - timestamptz '2024-01-01'
select timestamp '2024-01-01 10:00' - timestamp '2024-01-02 09:30:00.5'
select age(timestamp '2024-03-01', timestamp '2023-01-15'), age(timestamp '2024-01-31', timestamp '2024-02-29'), age(date '2020-05-05', date '2020-05-05')
select interval '1 day', interval '1 month 2 days', interval '1 year 2 mons', interval '03:04:05', interval '-1 day', interval '1 day -02:03', interval '1.5 hours', interval '100 hours', interval '0'
select interval '1 year 2 months 3 days 04:05:06.789', interval '1-2', interval 'P1Y2M3DT4H5M6S', interval '2 weeks', interval '1 day ago', interval '10' day, interval '5' minute, interval '1.5' day, interval '1 decade'
select '1 day'::interval, '1 mon 2 days 03:04:05.6'::interval, '36:00'::interval, '90 minutes'::interval, '-01:30'::interval, '1 min 30 sec'::interval
select interval '1 day' + interval '2 hours', interval '1 day' * 2, interval '1 hour' * 1.5, interval '1 day' / 2, - interval '1 day', 2 * interval '1 hour', interval '1 month' - interval '1 day'
select interval '1 day' = interval '24 hours', interval '1 month' > interval '29 days', interval '30 days' = interval '1 month'
select justify_days(interval '35 days'), justify_hours(interval '27 hours')
!42883 select justify_interval(interval '1 mon -1 hour')
select make_date(2024, 2, 29)
!42883 select make_time(1, 2, 3.5)
!42883 select make_timestamp(2024, 1, 2, 3, 4, 5.5)
!42883 select make_interval(1, 2)
select make_date(2024, 2, 30)
select extract(year from date '2024-02-29'), extract(month from timestamp '2024-02-29 10:00'), extract(day from date '2024-02-29'), extract(hour from timestamp '2024-02-29 10:11:12'), extract(minute from timestamp '2024-02-29 10:11:12'), extract(second from timestamp '2024-02-29 10:11:12.5')
select extract(dow from date '2024-03-03'), extract(isodow from date '2024-03-03'), extract(doy from date '2024-03-03'), extract(week from date '2024-01-01'), extract(quarter from date '2024-05-01'), extract(century from date '2024-05-01'), extract(decade from date '2024-05-01'), extract(millennium from date '2024-05-01'), extract(isoyear from date '2024-12-30')
select extract(epoch from timestamp '2024-01-01 00:00:00.5'), extract(epoch from timestamptz '2024-01-01 00:00:00+00'), extract(epoch from date '2024-01-01'), extract(epoch from interval '1 day 1 hour'), extract(milliseconds from timestamp '2024-01-01 00:00:01.5'), extract(microseconds from time '00:00:01.5')
select extract(day from interval '40 days 5 hours'), extract(hour from interval '40 days 5 hours'), extract(month from interval '14 months'), extract(year from interval '14 months')
!22023 select extract(nothing from date '2024-01-01')
select extract(timezone from timestamptz '2024-01-01 00:00+00'), extract(timezone_hour from timestamptz '2024-01-01 00:00+00'), extract(julian from date '2024-01-01')
select date_part('year', timestamp '2024-02-29 10:00'), date_part('epoch', timestamp '2024-01-01'), date_part('second', timestamp '2024-01-01 00:00:01.25'), date_part('dow', date '2024-03-03')
select date_trunc('month', timestamp '2024-02-29 10:11:12'), date_trunc('hour', timestamp '2024-02-29 10:11:12.5'), date_trunc('day', timestamptz '2024-02-29 10:11:12+00'), date_trunc('week', date '2024-02-29'), date_trunc('quarter', date '2024-05-29'), date_trunc('year', timestamp '2024-05-29'), date_trunc('second', timestamp '2024-05-29 01:02:03.9')
select date_trunc('decade', timestamp '2024-05-29')
select date_trunc('nothing', timestamp '2024-01-01')
!42883 select date_trunc('day', interval '3 days 4 hours'), date_trunc('hour', interval '3 days 04:05:06')
select date_trunc('day', timestamptz '2024-02-29 23:11:12+00', 'Europe/Berlin')
select date_bin('15 minutes', timestamp '2024-02-11 15:44:17', timestamp '2001-01-01')
select to_char(timestamp '2024-02-29 13:04:05.678', 'YYYY-MM-DD HH24:MI:SS'), to_char(timestamp '2024-02-29 13:04:05.678', 'YYYY-MM-DD HH24:MI:SS.MS US'), to_char(date '2024-02-29', 'DD Mon YYYY'), to_char(timestamp '2024-02-29 13:04:05', 'Day, FMDay D, Month DDD'), to_char(timestamp '2024-02-29 13:04:05', 'HH12:MI AM'), to_char(timestamp '2024-02-29 13:04:05', 'IYYY-IW Q WW CC'), to_char(date '2024-02-29', 'yy/fmmm/dd "of" y')
!0A000 select to_char(interval '1 day 2 hours', 'DD HH24:MI:SS')
select to_date('2024-02-29', 'YYYY-MM-DD'), to_date('29 Feb 2024', 'DD Mon YYYY'), to_timestamp('2024-02-29 13:04', 'YYYY-MM-DD HH24:MI')
select to_timestamp(1704067200), to_timestamp(1704067200.5)
select timestamp '2024-01-01 12:00' at time zone 'Europe/Berlin', timestamptz '2024-01-01 12:00+00' at time zone 'Europe/Berlin', timestamptz '2024-07-01 12:00+00' at time zone 'America/New_York', timestamp '2024-01-01 12:00' at time zone 'UTC', timezone('Asia/Tokyo', timestamptz '2024-01-01 00:00+00')
select timestamp '2024-01-01 12:00' at time zone 'Mars/Olympus'
select timestamp '2024-01-01 12:00'::date, timestamp '2024-01-01 12:34'::time, date '2024-01-01'::timestamp, timestamptz '2024-01-01 12:00+00'::timestamp, timestamptz '2024-01-01 12:00+00'::date, timestamp '2024-01-01 12:00'::timestamptz, date '2024-01-01'::timestamptz
!0A000 select timestamp '2024-01-01 12:34:56.789'::timestamp(0)
!0A000 select time '12:34:56.789'::time(1)
!0A000 select timestamptz '2024-01-01 12:34:56.789+00'::timestamptz(0)
select time '10:00' + interval '1 hour', time '23:00' + interval '2 hours', time '10:00' - time '08:30'
!0A000 select timetz '12:00+02'
!0A000 select (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', date '2024-03-01')
select date '2024-01-01' < timestamp '2024-01-01 00:00:01', date '2024-01-01' = timestamp '2024-01-01', timestamptz '2024-01-01 00:00+00' = timestamp '2024-01-01'
select date '2024-01-01' between '2023-12-31' and '2024-01-02', '2024-01-01' = date '2024-01-01'
select '2024-01-01'::date = 'garbage'
~ select pg_typeof(now()), pg_typeof(current_date), pg_typeof(localtimestamp), pg_typeof(now() - now()), pg_typeof(date '2024-01-01' + 1), pg_typeof(date '2024-01-01' + interval '1 day'), pg_typeof(extract(year from now())), pg_typeof(date_part('year', now())), pg_typeof(age(now())), pg_typeof(date '2024-01-02' - date '2024-01-01')
select now() = now(), now() = transaction_timestamp(), clock_timestamp() >= now(), current_date = now()::date, statement_timestamp() >= now()
select now() - interval '1 day' < now(), current_date - 1 < current_date, localtimestamp::date = current_date, now() > '2020-01-01'
~ select pg_sleep(0.01)
select extract(year from now()) >= 2024, date_trunc('day', now()) <= now()
select generate_series(timestamp '2024-01-01', timestamp '2024-01-03', interval '1 day')
select * from generate_series(date '2024-01-01', date '2024-01-03', interval '1 day') g
select * from generate_series(timestamptz '2024-01-01 00:00+00', '2024-01-01 03:00+00', '1 hour') g
select g::date from generate_series('2024-01-01'::date, '2024-01-03', '1 day') g
select hired, at, d from emp order by id
select hired + 1, hired - date '2020-01-01', at + interval '1 day', at::date, extract(year from hired) from emp order by id
select hired from emp where hired >= '2021-01-01' order by hired
select hired from emp where hired between date '2020-01-01' and '2021-12-31' order by hired
select count(*) from emp where at > timestamptz '2022-01-01 00:00+00'
select count(*) from emp where at > '2022-01-01'
select date_trunc('year', hired)::date, count(*) from emp group by 1 order by 1
select max(hired), min(at), max(at) - min(at), max(hired) - min(hired) from emp
select to_char(hired, 'YYYY-MM') m, count(*) from emp group by m order by m
select d, d * 2, d + interval '1 hour' from emp order by id
select sum(d), avg(d) from emp
select id from emp order by d nulls last, id
select local, local + interval '1 hour', local::date from emp order by id
select tm from emp order by id
select avg(x) from (values (interval '1 day'), (interval '2 days')) v(x)
select sum(x), max(x), min(x) from (values (interval '1 day'), (interval '30 hours')) v(x)
!42883 select isfinite(date '2024-01-01'), isfinite('infinity'::timestamp)
!42883 select timeofday() is not null, current_time is not null
select date 'today' = current_date, 'tomorrow'::date - 'yesterday'::date, timestamp 'now' is not null
select timestamp '294277-01-01'
!22003 select date '2024-01-01' + 10000000
!22003 select timestamp '2024-01-01' + interval '1000000 years'
!42883 select 1::interval
select now()::text = now()::text, date '2024-01-01'::text || 'x', interval '1 day'::text, timestamptz '2024-01-01 00:00+00'::text, time '01:02'::text
select date '2024-1-5', timestamp '2024-1-5 3:4:5'
!22007 select '2024-001'::date
select timestamptz '2024-03-09 12:00-05' + interval '1 day', timestamptz '2024-03-09 12:00-05' + interval '24 hours', timestamptz '2024-03-11 12:00-04' - interval '1 day', timestamptz '2024-01-31 20:00-05' + interval '1 month'
select timestamptz '2024-01-02 03:00+00'::date, timestamptz '2024-01-02 03:00+00'::timestamp, timestamptz '2024-01-02 03:00+00'::time, timestamptz '2024-07-02 03:00+00'::date
select date_trunc('day', timestamptz '2024-01-02 03:00+00'), date_trunc('month', timestamptz '2024-04-01 02:00+00'), date_trunc('hour', timestamptz '2024-11-03 06:30+00')
select timestamptz '2024-01-02 03:00+00' = timestamp '2024-01-02 03:00', timestamptz '2024-01-02 00:00+00' > date '2024-01-01', date '2024-01-02' < timestamptz '2024-01-02 03:00+00'
select timestamptz '2024-01-02 03:00+00' - timestamp '2024-01-01 00:00', timestamptz '2024-01-02 03:00+00' - date '2024-01-01'
select '2024-01-02 03:00'::timestamptz, '2024-07-02 03:00'::timestamptz, '2024-03-10 02:30'::timestamptz, '2024-11-03 01:30'::timestamptz, date '2024-01-01'::timestamptz, timestamp '2024-07-01 12:00'::timestamptz
select count(*) from emp where at > '2021-12-31 20:00'
select at::date, date_trunc('day', at), extract(hour from at), to_char(at, 'HH24'), at at time zone 'UTC' from emp order by id
select at::date d, count(*) from emp group by 1 order by 1
select date_trunc('century', timestamp '2024-05-29'), date_trunc('millennium', timestamp '2000-05-29'), date_trunc('week', timestamp '2024-05-29 10:00')
select date_trunc('nothing', timestamp '2024-05-29')
